"""OpsService: what an operator sees and does; a thin front, each concern answers in a file of its own (`ops_*.py`)."""

# ruff: noqa: N802, ARG002 - grpc calls these methods by the contract's names and hands each a context

from __future__ import annotations

from typing import Any

from grpc.aio import ServicerContext

from grpc_server.health import Health
from grpc_server.ops_actors import Actors
from grpc_server.ops_aggregations import Aggregations
from grpc_server.ops_alerts import Alerts
from grpc_server.ops_connections import Connections
from grpc_server.ops_discrepancies import Discrepancies
from zmart.v1 import ops_service_pb2 as pb
from zmart.v1.ops_service_pb2_grpc import OpsServiceServicer


class OpsService(OpsServiceServicer):
    """Hands each call to its concern, given to the constructor; what has no method here is answered NOT_SERVED."""

    def __init__(
        self,
        health: Health,
        discrepancies: Discrepancies,
        alerts: Alerts,
        aggregations: Aggregations,
        actors: Actors,
        connections: Connections,
    ) -> None:
        self._health = health
        self._discrepancies = discrepancies
        self._alerts = alerts
        self._aggregations = aggregations
        self._actors = actors
        self._connections = connections

    async def GetHealth(self, request: pb.GetHealthRequest, context: ServicerContext[Any, Any]) -> pb.GetHealthResponse:
        """Say how the system is."""
        return await self._health.answer(context)

    async def ListAlerts(
        self, request: pb.ListAlertsRequest, context: ServicerContext[Any, Any]
    ) -> pb.ListAlertsResponse:
        """Answer one page of alerts."""
        return await self._alerts.list(request)

    async def AcknowledgeAlert(
        self, request: pb.AcknowledgeAlertRequest, context: ServicerContext[Any, Any]
    ) -> pb.AcknowledgeAlertResponse:
        """Take note of an alert."""
        return await self._alerts.acknowledge(request)

    async def ResolveAlert(
        self, request: pb.ResolveAlertRequest, context: ServicerContext[Any, Any]
    ) -> pb.ResolveAlertResponse:
        """Say that an alert is over."""
        return await self._alerts.resolve(request)

    async def AggregateNow(
        self, request: pb.AggregateNowRequest, context: ServicerContext[Any, Any]
    ) -> pb.AggregateNowResponse:
        """Send what may be sent now, and answer where it stands."""
        return await self._aggregations.now(request)

    async def ListAggregations(
        self, request: pb.ListAggregationsRequest, context: ServicerContext[Any, Any]
    ) -> pb.ListAggregationsResponse:
        """Answer one page of what was recorded of aggregations."""
        return await self._aggregations.list(request)

    async def ListDiscrepancies(
        self, request: pb.ListDiscrepanciesRequest, context: ServicerContext[Any, Any]
    ) -> pb.ListDiscrepanciesResponse:
        """Answer one page of what the reconciliation found."""
        return await self._discrepancies.list(request)

    async def RunReconciliation(
        self, request: pb.RunReconciliationRequest, context: ServicerContext[Any, Any]
    ) -> pb.RunReconciliationResponse:
        """Compare now, and answer what was found."""
        return await self._discrepancies.run(request)

    async def ListShards(
        self, request: pb.ListShardsRequest, context: ServicerContext[Any, Any]
    ) -> pb.ListShardsResponse:
        """Answer who owns what, and how the owners stand."""
        return await self._actors.shards()

    async def DescribeActor(
        self, request: pb.DescribeActorRequest, context: ServicerContext[Any, Any]
    ) -> pb.DescribeActorResponse:
        """Answer what a market's actor holds."""
        return await self._actors.describe(request)

    async def ListTransactions(
        self, request: pb.ListTransactionsRequest, context: ServicerContext[Any, Any]
    ) -> pb.ListTransactionsResponse:
        """Answer one page of transactions."""
        return await self._actors.transactions(request)

    async def ListConnections(
        self, request: pb.ListConnectionsRequest, context: ServicerContext[Any, Any]
    ) -> pb.ListConnectionsResponse:
        """Answer which WebSocket connections are furthest behind."""
        return await self._connections.list(request)

    async def KickConnections(
        self, request: pb.KickConnectionsRequest, context: ServicerContext[Any, Any]
    ) -> pb.KickConnectionsResponse:
        """Close a wallet's WebSocket connections."""
        return await self._connections.kick(request)
