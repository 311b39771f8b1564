"""One schedule from a seed: the storm, then the calm."""

from collections import Counter
from dataclasses import dataclass

from tests.simulation.checks import Checks
from tests.simulation.tenants import Tenants
from tests.simulation.world import HOST_IDLE_S, LEASE_TTL_S, Violation, World

STORM_PASSES = 18
CALM_PASSES = 90
PAUSES_S = (0.5, 1, 1, 2, 5, 10, LEASE_TTL_S + 1)


@dataclass(frozen=True)
class Result:
    """The result of one schedule."""

    seed: int
    violation: str | None
    faults: Counter[str]
    jobs: int
    trace: list[str]


def run_schedule(seed: int) -> Result:
    """Raises only for errors of the simulator itself."""
    world = World(seed)
    violation = None
    with world.running():
        tenants = Tenants(world)
        checks = Checks(world, tenants)
        try:
            _storm(world, tenants, checks)
            _calm(world, tenants, checks)
        except Violation as error:
            violation = str(error)
    jobs = len({job for ids in tenants.keys.values() for job in ids})
    return Result(seed, violation, world.faults.counts, jobs, world.trace)


def _storm(world: World, tenants: Tenants, checks: Checks) -> None:
    """Safety: anything may fail."""
    world.faults.on = True
    for number in range(STORM_PASSES):
        if number < 12 and world.rng.random() < 0.7:
            tenants.act()
        if number < 12 and world.rng.random() < 0.03:
            world.stop_as_planned()
        world.advance(world.rng.choice(PAUSES_S))
        world.live()
        world.tick()
        if world.rng.random() < 0.3:
            world.tick(1)
        world.restart_stopped()
        checks.after_pass()
        if number % 6 == 5:
            world.faults.on = False
            checks.of_the_rows("I7")  # a fault may delay a collection by a pass
            world.faults.on = True
    world.faults.on = False


def _calm(world: World, tenants: Tenants, checks: Checks) -> None:
    """Liveness: the faults stop, so every job ends."""
    world.say("the faults stop")
    world.restart_stopped(patience=0)
    tenants.come_to_an_end()
    for _ in range(CALM_PASSES):
        world.advance(20)
        world.live()
        world.tick()
        checks.after_pass()
        if checks.all_over():
            break
    for _ in range(4 * HOST_IDLE_S // LEASE_TTL_S):
        world.advance(LEASE_TTL_S)
        world.live()
        world.tick()
        checks.after_pass()
    checks.of_the_rows()
    checks.at_the_end()
