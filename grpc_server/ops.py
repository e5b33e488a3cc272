"""OpsService: what an operator sees and does; a thin front, each concern answers in a file of its own (`ops_*.py`)."""

from __future__ import annotations

from zmart.v1.ops_service_pb2_grpc import OpsServiceServicer


class OpsService(OpsServiceServicer):
    """Hands each call to its concern, given to the constructor; what has no method here is answered NOT_SERVED."""
