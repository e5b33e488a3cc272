"""Between messages of a watch and what the feed tells; the rest is in `translate.py`."""

from __future__ import annotations

from google.protobuf import json_format
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp

from domain.feed import ToldChange
from grpc_server import translate
from grpc_server.watches import Snapshot, Told
from zmart.v1 import market_service_pb2 as pb


def watch_response(told: Told, resume_token: str, now_s: int) -> pb.WatchMarketResponse:
    """One message; a change has the time when it was committed, the others have the present."""
    what, (seq, epoch) = told.what, told.place
    if isinstance(what, ToldChange):
        payload = json_format.ParseDict(dict(what.payload), Struct())
        change = pb.MarketChange(type=what.type, epoch=epoch, seq=seq, payload=payload)
        return pb.WatchMarketResponse(
            resume_token=resume_token, timestamp=translate.instant(what.told_at), change=change
        )
    answer = pb.WatchMarketResponse(resume_token=resume_token, timestamp=Timestamp(seconds=now_s))
    if isinstance(what, Snapshot):
        answer.snapshot.CopyFrom(translate.market_message(what.market, what.deadline))
    else:
        answer.bookmark.seq = seq
    return answer
