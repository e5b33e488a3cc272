"""Every event of the program, made by every instruction, read back over JSON-RPC by unmodified solana-py."""

from collections.abc import Sequence

from solana.rpc.commitment import Confirmed
from solders.instruction import Instruction
from solders.keypair import Keypair
from solders.pubkey import Pubkey
from solders.signature import Signature

from chain.decoder import EVENT_NAMES, decode_event
from chain.events import ChainEvent, GlobalConfigInitialized, SharesSold, WinningsClaimed
from chain.logs import parse_log
from chain.program import PROPOSAL_VOTE, ConfigChange
from domain.ids import MarketId, Wallet
from domain.lifecycle import Lifecycle
from tests.support.ledger import B_PARAMETER, LIQUIDITY, QUESTION, Chain, market_id
from tests.support.stage import DISPUTE_PERIOD_S, HASH, SOL, wallet


class Life:
    """A chain, its wallets, and all events so far."""

    def __init__(self, chain: Chain) -> None:
        self.chain, self.program, self.keys = chain, chain.program, chain.keys
        self.events: list[ChainEvent] = []
        self.fees = chain.keys.fee_wallet.wallet

    async def do(self, call: Instruction, signer: Keypair) -> None:
        signature = await self.chain.land(call, signer)
        self.events += await self.read(str(signature))

    async def read(self, signature: str) -> Sequence[ChainEvent]:
        answer = await self.chain.client.get_transaction(
            Signature.from_string(signature), commitment=Confirmed, max_supported_transaction_version=0
        )
        assert answer.value is not None and answer.value.transaction.meta is not None
        meta = answer.value.transaction.meta
        parsed = parse_log(meta.log_messages or [], str(self.program.program_id), has_failed=meta.err is not None)
        assert parsed.is_ok
        decoded = [decode_event(line.raw) for line in parsed.lines]
        assert all(isinstance(event, ChainEvent) for event in decoded)
        return [event for event in decoded if isinstance(event, ChainEvent)]

    async def data(self, address: Pubkey) -> bytes:
        answer = await self.chain.client.get_account_info(address, Confirmed, "base64")
        assert answer.value is not None
        return answer.value.data

    def later(self, seconds: int) -> None:
        self.chain.clock.unix_s += seconds
        self.chain.ledger.tick()

    async def active(self, number: int, creator: Keypair) -> MarketId:
        admin, backend, market = self.keys.admin, self.keys.backend, market_id(number)
        program = self.program
        await self.do(program.create_market(wallet(creator), market, B_PARAMETER, LIQUIDITY, QUESTION), creator)
        await self.do(program.submit_proposal_vote(wallet(creator), market, True), creator)
        await self.do(program.aggregate_proposal_votes(backend.wallet, market, 1, 0), backend.pair)
        await self.do(program.approve_proposal(admin.wallet, market), admin.pair)
        await self.do(program.activate_market(wallet(creator), market), creator)
        self.later(1)
        return market

    async def state(self, market: MarketId) -> Lifecycle:
        return self.program.market(market, await self.chain.data(market), 0).state


async def test_a_whole_life_makes_every_event_and_accounts_that_read_back(chain: Chain) -> None:
    life, program, user = Life(chain), chain.program, await chain.funded(100 * SOL)
    admin, backend, name = chain.keys.admin, chain.keys.backend, wallet(user)
    change = ConfigChange(300, 200, 500, 7_000, 6_000, 30, DISPUTE_PERIOD_S)
    await life.do(program.update_global_config(admin.wallet, change), admin.pair)
    await life.do(program.emergency_pause(admin.wallet), admin.pair)
    await life.do(program.emergency_pause(admin.wallet), admin.pair)
    await life.do(program.create_market(name, market_id(9), B_PARAMETER, LIQUIDITY, QUESTION), user)
    await life.do(program.cancel_market(admin.wallet, market_id(9)), admin.pair)

    market = await life.active(1, user)
    await life.do(program.buy_shares(name, market, True, SOL, life.fees), user)
    await life.do(program.sell_shares(name, market, True, 100_000_000, 0, life.fees), user)
    await life.do(program.resolve_market(name, market, True, HASH), user)
    life.later(1)
    await life.do(program.initiate_dispute(name, market), user)
    await life.do(program.submit_dispute_vote(name, market, False), user)
    await life.do(program.aggregate_dispute_votes(backend.wallet, market, 6, 4), backend.pair)
    await life.do(program.initiate_dispute(name, market), user)
    await life.do(program.finalize_market(backend.wallet, market, 4, 6), backend.pair)
    await life.do(program.claim_winnings(name, market, name), user)
    await life.do(program.withdraw_liquidity(name, market), user)

    config = program.config_address()[0]
    history = (await chain.client.get_signatures_for_address(config, commitment=Confirmed)).value
    first = await life.read(str(history[-1].signature))
    assert isinstance(first[0], GlobalConfigInitialized)
    assert {event.NAME for event in (*first, *life.events)} == set(EVENT_NAMES)
    await assert_read_back(life, market, name)


async def assert_read_back(life: Life, market: MarketId, user: Wallet) -> None:
    """What the events said is what the accounts hold."""
    program = life.program
    address = program.market_address(market)[0]
    place = program.position_address(address, user)[0]
    position = program.position(place, await life.data(place), 1)
    (claimed,) = [event for event in life.events if isinstance(event, WinningsClaimed)]
    (sold,) = [event for event in life.events if isinstance(event, SharesSold)]
    assert (position.has_claimed, position.claimed_amount) == (True, claimed.amount)
    assert (position.trades_count, position.market) == (2, str(address))
    assert position.shares_yes == 1_835_823_062 - sold.shares
    place = program.vote_address(address, user, PROPOSAL_VOTE)[0]
    vote = program.vote(place, await life.data(place), 1)
    assert (vote.user, vote.is_dispute, vote.vote) == (user, False, True)
    seen = program.market(market, await life.chain.data(market), 1)
    assert (seen.state, seen.final_outcome, seen.current_liquidity) == (Lifecycle.FINALIZED, True, 0)
    assert (seen.resolver, seen.content_hash) == (user, HASH.decode())
    assert program.protocol_fee_wallet(await life.data(program.config_address()[0])) == life.fees
