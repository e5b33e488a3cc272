"""Raw JSON-RPC against a test's ledger, for what client libraries hide."""

import base64
import json
from typing import Any

import httpx
from solders.keypair import Keypair
from solders.system_program import TransferParams, transfer
from solders.transaction import VersionedTransaction

from tests.support.ledger import Chain


async def post(chain: Chain, body: str | bytes, content_type: str = "application/json") -> httpx.Response:
    """One HTTP request with this body."""
    async with httpx.AsyncClient() as client:
        return await client.post(chain.ledger.rpc_url, content=body, headers={"Content-Type": content_type})


async def call(chain: Chain, method: str, *params: Any) -> dict[str, Any]:
    """The whole answer to one request."""
    body = json.dumps({"jsonrpc": "2.0", "id": 7, "method": method, "params": list(params)})
    answer: dict[str, Any] = (await post(chain, body)).json()
    return answer


async def result(chain: Chain, method: str, *params: Any) -> Any:
    """The result of a request that must succeed."""
    answer = await call(chain, method, *params)
    assert "error" not in answer, answer
    return answer["result"]


async def error(chain: Chain, method: str, *params: Any) -> dict[str, Any]:
    """The error of a request that must fail."""
    answer = await call(chain, method, *params)
    assert "error" in answer, answer
    found: dict[str, Any] = answer["error"]
    return found


def to_base64(transaction: VersionedTransaction) -> str:
    """The transaction as a parameter."""
    return base64.b64encode(bytes(transaction)).decode()


async def paying(chain: Chain, lamports: int = 1_000_000, payer: Keypair | None = None) -> VersionedTransaction:
    """A transfer to the backend's wallet, by the admin if nobody else is named."""
    source = payer or chain.keys.admin.pair
    target = chain.keys.backend.pair.pubkey()
    pay = transfer(TransferParams(from_pubkey=source.pubkey(), to_pubkey=target, lamports=lamports))
    return await chain.signed([pay], source)
