"""Which fault strikes when: counted, rolled with seeded dice, one of each name."""

from chain.ledger.faults import DROP_SEND, LAG, LOSE_ANSWER, Fault, Faults


def strikes(fault: Fault, tries: int) -> list[bool]:
    faults = Faults()
    faults.set(fault)
    return [faults.strike(fault.name) is not None for _ in range(tries)]


def test_a_fault_that_is_not_on_never_strikes() -> None:
    faults = Faults()
    faults.set(Fault(DROP_SEND))
    assert faults.strike(LOSE_ANSWER) is None
    assert faults.find(LOSE_ANSWER) is None


def test_a_counted_fault_strikes_so_often_and_is_off_then() -> None:
    faults = Faults()
    faults.set(Fault(DROP_SEND, count=2))
    assert [faults.strike(DROP_SEND) is not None for _ in range(4)] == [True, True, False, False]
    assert list(faults) == []


def test_an_uncounted_fault_goes_on() -> None:
    assert all(strikes(Fault(DROP_SEND), 100))


def test_the_same_seed_meets_the_same_fate_and_another_one_another() -> None:
    first = strikes(Fault(DROP_SEND, probability=0.5, seed=1), 200)
    assert first == strikes(Fault(DROP_SEND, probability=0.5, seed=1), 200)
    assert first != strikes(Fault(DROP_SEND, probability=0.5, seed=2), 200)
    assert 60 < sum(first) < 140


def test_only_strikes_use_up_a_count() -> None:
    assert sum(strikes(Fault(DROP_SEND, probability=0.3, count=5, seed=4), 500)) == 5


def test_a_new_setting_replaces_the_old_one_and_zero_turns_it_off() -> None:
    faults = Faults()
    faults.set(Fault(LAG, slots=5))
    faults.set(Fault(LAG, slots=9))
    assert [fault.slots for fault, _ in faults] == [9]
    faults.set(Fault(LAG, count=0))
    faults.set(Fault(DROP_SEND, probability=0.0))
    assert list(faults) == []
    faults.set(Fault(LAG))
    faults.clear()
    assert faults.find(LAG) is None
