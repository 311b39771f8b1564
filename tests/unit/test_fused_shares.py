"""Who is served next on a host: tenants by weight, the seats of a tenant in turn."""

from collections import Counter

from workers.lanes.fused.fair_queue import FairQueue


def serve_next(shares: FairQueue, seats: list[str]) -> str:
    """Ten tokens for the seat that has been served least."""
    seat = min(seats, key=shares.served)
    shares.serve(seat, 10)
    return seat


def test_a_tenants_second_seat_starts_level_with_its_first_however_little_others_were_served() -> None:
    shares = FairQueue()
    shares.enter("first", "busy")
    shares.enter("guest", "other")
    shares.serve("first", 10_000)
    shares.enter("second", "busy")
    turns = Counter(serve_next(shares, ["first", "second"]) for _ in range(10))
    assert turns == {"first": 5, "second": 5}


def test_a_new_tenant_starts_level_with_the_one_served_least_and_claims_no_past() -> None:
    shares = FairQueue()
    for tenant in ("much", "little"):
        shares.enter(tenant, tenant)
    shares.serve("much", 900)
    shares.serve("little", 300)
    shares.enter("new", "new")
    assert shares.served("new") == shares.served("little")
