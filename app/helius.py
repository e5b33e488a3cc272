"""Helius' registration of webhooks: what ours should be, what theirs is, and making the two equal.

The API is theirs: `/v0/webhooks?api-key=`, one object per webhook. Each change costs 100 credits, so nothing is changed
that is right already. Our webhook is the one that posts to our URL; those of others are never touched.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp

TIMEOUT_S = 15.0
ANY = "Any"
RAW = {"mainnet": "raw", "devnet": "rawDevnet"}
"""The kinds that carry logs, and so events (T38); the enhanced ones do not."""


class HeliusUnavailable(Exception):
    """No usable answer; the text names the request and the status, never the key."""


@dataclass(frozen=True, slots=True)
class Registration:
    """A webhook as we want it: the program's transactions, raw, to our URL, with our secret in `Authorization`."""

    url: str
    program_id: str
    kind: str
    secret: str

    def body(self) -> dict[str, Any]:
        """The registration as Helius takes it."""
        return {
            "webhookURL": self.url,
            "transactionTypes": [ANY],
            "accountAddresses": [self.program_id],
            "webhookType": self.kind,
            "authHeader": self.secret,
        }

    def faults(self, found: Mapping[str, Any]) -> list[str]:
        """What is wrong with theirs, one sentence each; none says the secret."""
        wanted = self.body()
        faults = [
            f"{name} is {found.get(name)!r}, not {wanted[name]!r}"
            for name in ("transactionTypes", "accountAddresses", "webhookType")
            if _plain(found.get(name)) != _plain(wanted[name])
        ]
        if found.get("authHeader") != self.secret:
            faults.append("authHeader is not our secret")
        if not _is_on(found):
            faults.append("it is switched off")
        return faults


class Helius:
    """The webhooks of one account. Every call raises HeliusUnavailable."""

    def __init__(self, http: aiohttp.ClientSession, base_url: str, api_key: str) -> None:
        self._http = http
        self._webhooks = f"{base_url.rstrip('/')}/v0/webhooks"
        self._api_key = api_key

    async def ours(self, url: str) -> list[dict[str, Any]]:
        """The webhooks that post to `url`."""
        listed = await self._call("GET")
        if not isinstance(listed, list) or not all(isinstance(each, dict) and "webhookID" in each for each in listed):
            raise HeliusUnavailable(f"GET {self._webhooks}: an answer that is no list of webhooks")
        return [webhook for webhook in listed if webhook.get("webhookURL") == url]

    async def create(self, wanted: Registration) -> str:
        """Register; the new webhook's id."""
        made = await self._call("POST", json=wanted.body())
        if not isinstance(made, dict) or "webhookID" not in made:
            raise HeliusUnavailable(f"POST {self._webhooks}: an answer that is no webhook")
        return str(made["webhookID"])

    async def change(self, webhook_id: str, wanted: Registration) -> None:
        """Make theirs as wanted."""
        await self._call("PUT", f"/{webhook_id}", json=wanted.body())

    async def delete(self, webhook_id: str) -> None:
        """Take it away."""
        await self._call("DELETE", f"/{webhook_id}")

    async def _call(self, method: str, path: str = "", **more: Any) -> Any:
        request = f"{method} {self._webhooks}{path}"
        try:
            async with (
                self._http.request(
                    method, self._webhooks + path, params={"api-key": self._api_key}, timeout=_TIMEOUT, **more
                ) as response,
            ):
                if response.status // 100 != 2:
                    raise HeliusUnavailable(f"{request}: status {response.status}{_HINTS.get(response.status, '')}")
                return await response.json(content_type=None) if response.status != 204 else None
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise HeliusUnavailable(f"{request}: {type(error).__name__}") from None  # its text may hold the key


_TIMEOUT = aiohttp.ClientTimeout(total=TIMEOUT_S)
_HINTS = {
    400: ", the URL must be public HTTPS",
    401: ", look at ZMART_HELIUS_API_KEY",
    403: ", look at ZMART_HELIUS_API_KEY",
    429: ", out of credits or too many requests",
}


async def register(helius: Helius, wanted: Registration) -> tuple[str, str]:
    """Make sure that exactly one webhook is as wanted; what was done (created, changed, unchanged) and its id.

    Repeating it changes nothing. Further webhooks to the same URL are deleted: each would send every event again. One
    that Helius switched off, because too many of its posts failed, is replaced: a change does not switch it on.
    """
    found = await helius.ours(wanted.url)
    keep = min(filter(_is_on, found), key=lambda webhook: len(wanted.faults(webhook)), default=None)
    made = await helius.create(wanted) if keep is None else None
    for webhook in found:
        if webhook is not keep:
            await helius.delete(webhook["webhookID"])
    if keep is None:
        return "created", str(made)
    if not wanted.faults(keep):
        return "unchanged", keep["webhookID"]
    await helius.change(keep["webhookID"], wanted)
    return "changed", keep["webhookID"]


async def faults(helius: Helius, wanted: Registration) -> list[str]:
    """What is wrong with the registration; empty when all is well."""
    found = await helius.ours(wanted.url)
    if not found:
        return [f"no webhook posts to {wanted.url}"]
    if len(found) > 1:
        return [f"{len(found)} webhooks post to {wanted.url}: every event comes {len(found)} times"]
    return wanted.faults(found[0])


async def delete(helius: Helius, url: str) -> Sequence[str]:
    """Delete every webhook that posts to `url`; their ids."""
    ids = [webhook["webhookID"] for webhook in await helius.ours(url)]
    for webhook_id in ids:
        await helius.delete(webhook_id)
    return ids


def _is_on(webhook: Mapping[str, Any]) -> bool:
    return webhook.get("active") is not False


def _plain(value: Any) -> Any:
    """Lists in any order, words in any case: Helius answers `ANY` to `Any`."""
    if isinstance(value, list):
        return sorted(str(item).upper() if str(item).upper() == ANY.upper() else str(item) for item in value)
    return value
