"""The port authority over a simulated fleet, with an optimiser that answers what the test says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from porter.db.fleet import Fleets
from porter.db.history import History
from porter.db.plans import Plans
from porter.db.policies import Policies
from porter.db.proposals import ProposalRecord, Proposals, ProposalState
from porter.db.rebalances import Rebalances
from porter.db.schedules import Schedules
from porter.domain.errors import PorterError
from porter.domain.identity import Grant, Principal, Role
from porter.migrate.forecast import Forecaster
from porter.migrate.planning import Planner
from porter.schedule.account import Accountant
from porter.schedule.authority import Authority
from porter.schedule.carry_out import Carrier
from porter.schedule.clockwork import Clockwork
from porter.schedule.optimiser.model import Answer, Bar, Bundle, Machine, Problem, Stay, Step, Sums
from porter.schedule.outlook import Estimator, Learned
from porter.schedule.proposals import Optimise, Proposer
from porter.schedule.rates import Rates
from porter.schedule.snapshot import Photographer, Scope
from tests.saga.world import IDLE, Died, World

ANN = Principal("u-ann", "user", "Ann", (Grant("*", Role.ADMIN),))
BOB = Principal("u-bob", "user", "Bob", (Grant("*", Role.APPROVER),))
NOTHING = Sums(0, 0, 0, 0, 0, 0)
SAVES = Sums(100, 0, 0, 0, 0, 0)
Say = Callable[[Problem], Sequence[Bundle]]


def bundle(
    *waves: Sequence[tuple[str, str, str]], machines: Sequence[str] = (), ended: Sequence[str] = ()
) -> Bundle:
    """Waves of (workload, from, to); machines as `SITE/TYPE/TERMS#N`."""
    return Bundle(
        waves=tuple(tuple(Step(*step) for step in wave) for wave in waves),
        machines=tuple(Machine(name, name.partition("#")[0]) for name in machines),
        ended=tuple(ended),
        before=SAVES,
        after=NOTHING,
        once=0.0,
    )


class Oracle:
    """An optimiser that knows the answer."""

    def __init__(self) -> None:
        self.say: Say = lambda problem: ()
        self.asked: list[Problem] = []

    def __call__(self, problem: Problem, seconds: float = 5.0) -> Answer:
        self.asked.append(problem)
        said = tuple(self.say(problem))
        moved = {step.job for one in said for step in one.steps}
        stays = tuple(
            Stay(job.name, job.pinned or Bar("saving", "nothing is cheaper", "wait"), "", None)
            for job in problem.jobs
            if job.name not in moved
        )
        return Answer(said, stays, 0.0, 100.0 * len(said), 0.0, "exact", 0.01)


class Mortal:
    """What stands before a part of the database: its user dies before or after the nth call."""

    def __init__(self, inner: Any, names: Sequence[str]) -> None:
        self._inner = inner
        self._names = names
        self.calls = 0
        self.die_at: tuple[int, str] | None = None

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if name not in self._names:
            return found

        def call(*args: Any, **kwargs: Any) -> Any:
            number, self.calls = self.calls, self.calls + 1
            if self.die_at == (number, "before"):
                self.die_at = None
                raise Died(name)
            result = found(*args, **kwargs)
            if self.die_at == (number, "after"):
                self.die_at = None
                raise Died(name)
            return result

        return call


class Port:
    """A world with a port authority. `tick` is half a second of its time."""

    def __init__(
        self,
        world: World,
        estimator: Estimator | None = None,
        optimise: Optimise | None = None,
        rates: Rates = Rates(),
    ) -> None:
        self.world = world
        database = world.database
        self.plans, self.policies = Plans(database), Policies(database)
        self.proposals, self.rebalances = Proposals(database), Rebalances(database)
        forecaster = Forecaster(self.plans, world.ledger, world.places)
        self.planner = Planner(
            world.moves, self.plans, self.policies, world.registry, world.places, forecaster
        )
        self.oracle = Oracle()
        self.history = History(database)
        self.photographer = Photographer(
            Fleets(database),
            self.policies,
            world.places,
            forecaster,
            estimator or Learned(forecaster),
            self.history,
            rates,
        )
        self.proposer = Proposer(
            self.photographer, optimise or self.oracle, self.planner, self.proposals, world.places
        )
        self.mortal_proposals = Mortal(self.proposals, ("claim", "reserve", "note", "apply"))
        self.mortal_moves = Mortal(world.moves, ("repeated", "create"))
        mortal_planner = Planner(
            self.mortal_moves, self.plans, self.policies, world.registry, world.places, forecaster
        )
        self.carrier = Carrier(
            self.mortal_proposals,
            mortal_planner,
            self.mortal_moves,
            self.policies,
            world.ledger,
            lambda: world.now,
            world.enqueue,
            IDLE,
        )
        self.authority = Authority(
            self.proposer, self.rebalances, self.proposals, lambda: world.now
        )
        self.schedules = Schedules(database)
        self.clockwork = Clockwork(
            self.schedules, self.rebalances, self.proposer, world.places, lambda: world.now
        )
        self.accountant = Accountant(self.proposals, world.ledger, world.moves)
        self.deaths = 0

    def rebalance(self, say: Say, by: Principal = ANN, **scope: Any) -> list[ProposalRecord]:
        """Run the optimiser, which answers so."""
        self.oracle.say = say
        run, outcome = self.authority.run(Scope(**scope), by, self.world.now)
        self.run_id = run.id
        return [self.proposals.get(one.id) for one in outcome.proposals]

    def tick(self) -> None:
        self.world.tick()
        try:
            self.carrier.sweep()
        except Died:
            self.deaths += 1

    def until(self, what: Callable[[], bool], seconds: float = 300.0) -> None:
        until = self.world.now + seconds
        while not what():
            assert self.world.now < until, "the moment never came"
            self.tick()

    def jump(self, seconds: float) -> None:
        """Nothing happens for so long, but hosts are heard."""
        self.world.now += seconds
        self.world.beat()

    def finish(self, identity: str, seconds: float = 300.0) -> ProposalRecord:
        """Until a proposal that is carried out has come to its end."""
        over = (ProposalState.DONE, ProposalState.STOPPED)
        self.until(lambda: self.proposals.get(identity).state in over, seconds)
        return self.proposals.get(identity)

    def execute(self, identity: str, by: Principal = ANN) -> ProposalRecord:
        self.authority.execute(identity, by, self.world.now)
        return self.finish(identity)

    def where(self, workload: str) -> str:
        record = self.world.found.workload(workload)
        return self.world.registry.host(str(record.host)).name


def refused(call: Callable[[], object]) -> PorterError:
    """The error that a call ends with."""
    try:
        call()
    except PorterError as error:
        return error
    raise AssertionError("it was not refused")
