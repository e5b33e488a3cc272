"""Signing in: given a challenge / when a wallet answers / then it is in, or there is one reason why not."""

import os
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from domain.ids import Wallet, base58_decode, base58_encode
from identity import Challenge, Challenges, Denial, NoncesInMemory, NonceStoreUnavailable, Site
from identity.curve import Y_OF_ORDER_8, D, P, can_sign
from identity.sign_in import SignInText, read, write

SITE = Site("zmart.example:8080", "https://zmart.example:8080", "localnet", "Sign in to vote.")
NOON = datetime(2026, 1, 2, 12, 0, 0, tzinfo=UTC)
ORDER = 2**252 + 27742317777372353535851937790883648493


class Desk:
    """Challenges on a clock that the test moves."""

    def __init__(self, *sites: Site, nonces: NoncesInMemory | None = None) -> None:
        self.now = NOON
        self.nonces = nonces or NoncesInMemory(lambda: int(self.now.timestamp()))
        self._issued = 0
        self.challenges = Challenges(sites or [SITE], self.nonces, lambda: self.now, self._new_nonce)

    def _new_nonce(self) -> str:
        self._issued += 1
        return f"nonce{self._issued:011d}"

    async def issue(self, wallet: Wallet, domain: str | None = None) -> Challenge:
        challenge = await self.challenges.issue(wallet, domain)
        assert isinstance(challenge, Challenge)
        return challenge


class Signer:
    """A wallet."""

    def __init__(self) -> None:
        self.key = Ed25519PrivateKey.generate()
        self.wallet = Wallet(base58_encode(self.key.public_key().public_bytes_raw()))

    def sign(self, message: str) -> str:
        return base58_encode(self.key.sign(message.encode()))


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture
def signer() -> Signer:
    return Signer()


async def test_a_challenge_is_the_exact_text_of_the_wallet_standard(desk: Desk, signer: Signer) -> None:
    challenge = await desk.issue(signer.wallet)
    assert challenge.message == (
        "zmart.example:8080 wants you to sign in with your Solana account:\n"
        f"{signer.wallet}\n"
        "\n"
        "Sign in to vote.\n"
        "\n"
        "URI: https://zmart.example:8080\n"
        "Version: 1\n"
        "Chain ID: localnet\n"
        "Nonce: rnonce00000000001\n"
        "Issued At: 2026-01-02T12:00:00Z\n"
        "Expiration Time: 2026-01-02T12:10:00Z"
    )
    assert challenge.nonce == "rnonce00000000001"
    assert challenge.expires_at == NOON + timedelta(minutes=10)


async def test_a_wallet_that_signs_its_challenge_is_in(desk: Desk, signer: Signer) -> None:
    challenge = await desk.issue(signer.wallet)
    assert await desk.challenges.redeem(signer.wallet, challenge.message, signer.sign(challenge.message)) is None


async def test_a_challenge_is_good_for_one_answer(desk: Desk, signer: Signer) -> None:
    challenge = await desk.issue(signer.wallet)
    signature = signer.sign(challenge.message)
    assert await desk.challenges.redeem(signer.wallet, challenge.message, signature) is None
    assert await desk.challenges.redeem(signer.wallet, challenge.message, signature) is Denial.NONCE_UNKNOWN


async def test_a_failed_answer_uses_the_challenge_up(desk: Desk, signer: Signer) -> None:
    challenge = await desk.issue(signer.wallet)
    wrong = Signer().sign(challenge.message)
    assert await desk.challenges.redeem(signer.wallet, challenge.message, wrong) is Denial.SIGNATURE_INVALID
    right = signer.sign(challenge.message)
    assert await desk.challenges.redeem(signer.wallet, challenge.message, right) is Denial.NONCE_UNKNOWN


async def test_a_challenge_of_one_wallet_is_unknown_to_another_and_stays_with_its_owner(
    desk: Desk, signer: Signer
) -> None:
    challenge = await desk.issue(signer.wallet)
    thief = Signer()
    stolen = await desk.challenges.redeem(thief.wallet, challenge.message, thief.sign(challenge.message))
    assert stolen is Denial.NONCE_UNKNOWN
    assert await desk.challenges.redeem(signer.wallet, challenge.message, signer.sign(challenge.message)) is None


@pytest.mark.parametrize(
    ("old", "new", "denial"),
    [
        ("zmart.example:8080 wants", "evil.example wants", Denial.SIGN_IN_DOMAIN_MISMATCH),
        ("URI: https://zmart.example:8080", "URI: https://evil.example", Denial.SIGN_IN_URI_MISMATCH),
        ("Chain ID: localnet", "Chain ID: mainnet", Denial.SIGN_IN_CHAIN_MISMATCH),
        ("Sign in to vote.", "Give me everything.", Denial.SIGN_IN_MESSAGE_ALTERED),
        ("Version: 1", "Version: 2", Denial.SIGN_IN_MESSAGE_ALTERED),
        ("12:10:00Z", "13:10:00Z", Denial.SIGN_IN_MESSAGE_ALTERED),
        ("12:10:00Z", "12:10:00Z\nNot Before: 2026-01-02T12:00:00Z", Denial.SIGN_IN_FIELD_NOT_ISSUED),
        ("12:10:00Z", "12:10:00Z\nRequest ID: 1", Denial.SIGN_IN_FIELD_NOT_ISSUED),
        ("12:10:00Z", "12:10:00Z\nResources:\n- https://evil.example", Denial.SIGN_IN_FIELD_NOT_ISSUED),
        ("\n\nSign in to vote.", "", Denial.SIGN_IN_MESSAGE_ALTERED),
        ("12:10:00Z", "12:10:00Z\n", Denial.SIGN_IN_MESSAGE_MALFORMED),
        ("\n", "\r\n", Denial.SIGN_IN_MESSAGE_MALFORMED),
        ("Nonce: ", "Once: ", Denial.SIGN_IN_MESSAGE_MALFORMED),
        ("wants you to sign in", "wants you to send money", Denial.SIGN_IN_MESSAGE_MALFORMED),
    ],
)
async def test_an_altered_text_is_refused_by_what_was_altered(
    desk: Desk, signer: Signer, old: str, new: str, denial: Denial
) -> None:
    message = (await desk.issue(signer.wallet)).message
    assert old in message
    altered = message.replace(old, new)
    assert await desk.challenges.redeem(signer.wallet, altered, signer.sign(altered)) is denial


async def test_a_text_that_names_another_address_is_refused(desk: Desk, signer: Signer) -> None:
    message = (await desk.issue(signer.wallet)).message.replace(signer.wallet, Signer().wallet)
    denial = await desk.challenges.redeem(signer.wallet, message, signer.sign(message))
    assert denial is Denial.SIGN_IN_ADDRESS_MISMATCH


@pytest.mark.parametrize(
    "message", ["", "x", "\n" * 50, "a wants you to sign in with your Solana account:\nb", "y" * 9_999]
)
async def test_what_is_no_sign_in_text_is_malformed(desk: Desk, signer: Signer, message: str) -> None:
    denial = await desk.challenges.redeem(signer.wallet, message, signer.sign(message))
    assert denial is Denial.SIGN_IN_MESSAGE_MALFORMED


async def test_an_expired_challenge_is_unknown(desk: Desk, signer: Signer) -> None:
    challenge = await desk.issue(signer.wallet)
    desk.now = challenge.expires_at
    denial = await desk.challenges.redeem(signer.wallet, challenge.message, signer.sign(challenge.message))
    assert denial is Denial.NONCE_UNKNOWN


async def test_times_are_judged_by_the_text_as_well_as_by_the_store(signer: Signer) -> None:
    desk = Desk(nonces=NoncesInMemory(lambda: 0))
    late, early = await desk.issue(signer.wallet), await desk.issue(signer.wallet)
    desk.now = NOON + timedelta(minutes=10)
    denial = await desk.challenges.redeem(signer.wallet, late.message, signer.sign(late.message))
    assert denial is Denial.CHALLENGE_EXPIRED
    desk.now = NOON - timedelta(minutes=1)
    denial = await desk.challenges.redeem(signer.wallet, early.message, signer.sign(early.message))
    assert denial is Denial.CHALLENGE_NOT_YET_VALID


@pytest.mark.parametrize(
    ("field", "value", "denial"),
    [
        ("domain", "new.example", Denial.SIGN_IN_DOMAIN_MISMATCH),
        ("uri", "https://new.example", Denial.SIGN_IN_URI_MISMATCH),
        ("chain_id", "devnet", Denial.SIGN_IN_CHAIN_MISMATCH),
    ],
)
async def test_a_challenge_issued_under_other_settings_is_refused(
    desk: Desk, signer: Signer, field: str, value: str, denial: Denial
) -> None:
    message = (await desk.issue(signer.wallet)).message
    names = ("domain", "uri", "chain_id", "statement")
    moved = Desk(Site(**{name: value if name == field else getattr(SITE, name) for name in names}), nonces=desk.nonces)
    assert await moved.challenges.redeem(signer.wallet, message, signer.sign(message)) is denial


OTHER = Site("app.zmart.example", "https://app.zmart.example", "localnet", "Sign in to vote.")


async def test_each_of_our_domains_has_challenges_of_its_own_and_others_have_none(signer: Signer) -> None:
    desk = Desk(SITE, OTHER)
    assert (await desk.issue(signer.wallet)).message.startswith(f"{SITE.domain} wants")
    named = read((await desk.issue(signer.wallet, OTHER.domain)).message)
    assert named is not None
    assert (named.domain, named.uri) == (OTHER.domain, OTHER.uri)
    for stranger in ("evil.example", "", OTHER.domain.upper()):
        assert await desk.challenges.issue(signer.wallet, stranger) is Denial.SIGN_IN_DOMAIN_UNKNOWN


async def test_a_challenge_of_one_domain_signs_in_under_it_alone(signer: Signer) -> None:
    desk = Desk(SITE, OTHER)
    message = (await desk.issue(signer.wallet, OTHER.domain)).message
    assert await desk.challenges.redeem(signer.wallet, message, signer.sign(message)) is None
    message = (await desk.issue(signer.wallet, OTHER.domain)).message.replace(OTHER.domain, SITE.domain)
    denial = await desk.challenges.redeem(signer.wallet, message, signer.sign(message))
    assert denial is Denial.SIGN_IN_DOMAIN_MISMATCH


async def test_a_challenge_of_a_domain_that_is_ours_no_more_is_refused(signer: Signer) -> None:
    desk = Desk(SITE, OTHER)
    message = (await desk.issue(signer.wallet, OTHER.domain)).message
    moved = Desk(SITE, nonces=desk.nonces)
    denial = await moved.challenges.redeem(signer.wallet, message, signer.sign(message))
    assert denial is Denial.SIGN_IN_DOMAIN_MISMATCH


@pytest.mark.parametrize("signature", ["", "0", "1" * 64 + "2", "z" * 88, "z" * 500, "2" * 20])
async def test_what_is_not_64_bytes_of_base58_is_no_signature(desk: Desk, signer: Signer, signature: str) -> None:
    challenge = await desk.issue(signer.wallet)
    denial = await desk.challenges.redeem(signer.wallet, challenge.message, signature)
    assert denial is Denial.SIGNATURE_MALFORMED


async def test_a_signature_with_a_non_canonical_s_is_refused(desk: Desk, signer: Signer) -> None:
    challenge = await desk.issue(signer.wallet)
    raw = base58_decode(signer.sign(challenge.message))
    larger = int.from_bytes(raw[32:], "little") + ORDER
    forged = base58_encode(raw[:32] + larger.to_bytes(32, "little"))
    assert await desk.challenges.redeem(signer.wallet, challenge.message, forged) is Denial.SIGNATURE_INVALID


@pytest.mark.parametrize("y", [0, 1, P - 1, Y_OF_ORDER_8, P - Y_OF_ORDER_8, P, P + 1])
@pytest.mark.parametrize("sign_bit", [0, 2**255])
async def test_keys_of_small_order_and_non_canonical_ones_get_no_challenge(desk: Desk, y: int, sign_bit: int) -> None:
    address = Wallet(base58_encode((y + sign_bit).to_bytes(32, "little")))
    assert await desk.challenges.issue(address) is Denial.ADDRESS_CANNOT_SIGN


def test_the_constant_of_order_eight_solves_its_equation() -> None:
    assert (D * Y_OF_ORDER_8**4 + 2 * Y_OF_ORDER_8**2) % P == 1


def test_every_real_key_can_sign_and_half_of_all_bytes_cannot() -> None:
    assert all(can_sign(Ed25519PrivateKey.generate().public_key().public_bytes_raw()) for _ in range(50))
    assert 0 < sum(can_sign(os.urandom(32)) for _ in range(200)) < 200


def test_a_text_with_every_field_is_read_as_it_was_written() -> None:
    text = SignInText(
        "a.example", "b", "c", "https://d", "1", "devnet", "e" * 8, "f", "g", "h", "i", "\n- https://j\n- https://k"
    )
    assert read(write(text)) == text


def test_a_text_with_the_least_is_read_as_it_was_written() -> None:
    assert read(write(SignInText("a.example", "b"))) == SignInText("a.example", "b")


async def test_a_full_store_of_nonces_says_so_and_recovers_when_they_expire() -> None:
    now_s = [100]
    nonces = NoncesInMemory(lambda: now_s[0], open_max=2)
    wallet = Signer().wallet
    await nonces.put("a", wallet, "m", 110)
    await nonces.put("b", wallet, "m", 110)
    with pytest.raises(NonceStoreUnavailable):
        await nonces.put("c", wallet, "m", 110)
    now_s[0] = 110
    await nonces.put("c", wallet, "m", 120)
    assert await nonces.take("a", wallet) is None
    assert await nonces.take("c", wallet) == "m"


class Away(NoncesInMemory):
    """A store that remembers what it is given and says that it is away, as one does whose answer was lost."""

    def __init__(self) -> None:
        super().__init__(lambda: int(NOON.timestamp()))
        self.is_away = True

    async def put(self, nonce: str, address: Wallet, message: str, expires_at_s: int) -> None:
        await super().put(nonce, address, message, expires_at_s)
        if self.is_away:
            raise NonceStoreUnavailable("no answer")


async def test_while_the_first_store_is_away_the_spare_one_has_the_nonces_and_each_is_good_once(
    signer: Signer,
) -> None:
    first, spare = Away(), NoncesInMemory(lambda: int(NOON.timestamp()))
    letters = iter("abcdefgh")
    challenges = Challenges([SITE], first, lambda: NOON, lambda: next(letters) * 16, spare)
    issued = await challenges.issue(signer.wallet)
    assert isinstance(issued, Challenge)
    assert issued.nonce == "p" + "b" * 16
    first.is_away = False
    answer = (signer.wallet, issued.message, signer.sign(issued.message))
    assert await challenges.redeem(*answer) is None
    assert await challenges.redeem(*answer) is Denial.NONCE_UNKNOWN
    again = await challenges.issue(signer.wallet)
    assert isinstance(again, Challenge)
    assert again.nonce == "r" + "c" * 16
    assert await challenges.redeem(signer.wallet, again.message, signer.sign(again.message)) is None


async def test_with_both_stores_away_nobody_gets_a_challenge(signer: Signer) -> None:
    challenges = Challenges([SITE], Away(), lambda: NOON, lambda: "n" * 16, Away())
    with pytest.raises(NonceStoreUnavailable):
        await challenges.issue(signer.wallet)
