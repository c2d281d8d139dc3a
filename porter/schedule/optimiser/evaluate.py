"""What steps cost, exactly, and whether an answer keeps every rule: both reckoned step by step.

Nothing here is shared with the optimiser: it is what the optimiser is held against.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from porter.schedule.optimiser.model import (
    HOUR,
    Bar,
    Bundle,
    Job,
    Machine,
    Node,
    Offer,
    Problem,
    Step,
    Sums,
)

EPSILON = 1e-9
NOTHING = Sums(0.0, 0.0, 0.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Account:
    """Sums of the jobs and nodes that some steps touch, without and with them."""

    before: Sums
    after: Sums
    once: float
    ended: tuple[str, ...]


def add(left: Sums, right: Sums) -> Sums:
    """Both together, part by part."""
    return Sums(
        left.machines + right.machines,
        left.double + right.double,
        left.egress + right.egress,
        left.downtime + right.downtime,
        left.failures + right.failures,
        left.interruptions + right.interruptions,
    )


def risk(job: Job, place: Node | Offer, horizon_s: float) -> float:
    """What interruptions of the machine under a job are expected to cost over the horizon."""
    expected = place.interruptions * horizon_s / HOUR * job.interruption_cost
    return expected + (place.doomed if isinstance(place, Node) else 0.0)


def stay_sums(problem: Problem) -> Sums:
    """What everything costs if nothing moves. An empty node that can be ended counts nothing: it
    goes by itself, so that it costs only if a job is sent there."""
    nodes = {node.name: node for node in problem.nodes}
    busy = {job.host for job in problem.jobs}
    hours = problem.horizon_s / HOUR
    machines = sum(node.hourly * hours for node in problem.nodes if _paid(node, busy))
    interruptions = sum(risk(job, nodes[job.host], problem.horizon_s) for job in problem.jobs)
    return Sums(machines, 0.0, 0.0, 0.0, 0.0, interruptions)


def _paid(node: Node, busy: set[str]) -> bool:
    return node.removable and node.name in busy


@dataclass
class _Ledger:
    """The problem by name."""

    problem: Problem
    jobs: dict[str, Job] = field(init=False)
    nodes: dict[str, Node] = field(init=False)
    offers: dict[str, Offer] = field(init=False)
    residents: dict[str, set[str]] = field(init=False)

    def __post_init__(self) -> None:
        self.jobs = {job.name: job for job in self.problem.jobs}
        self.nodes = {node.name: node for node in self.problem.nodes}
        self.offers = {offer.key: offer for offer in self.problem.offers}
        self.residents = defaultdict(set)
        for job in self.problem.jobs:
            self.residents[job.host].add(job.name)


class Accountant:
    """Reckons sets of steps of one problem."""

    def __init__(self, problem: Problem) -> None:
        self._books = _Ledger(problem)
        self._hours = problem.horizon_s / HOUR

    def account(self, steps: Sequence[Step], machines: Iterable[Machine]) -> Account:
        """Sums of what these steps touch: the jobs they move, the nodes they leave, the machines
        and empty nodes they go to. Other nodes that they go to cost the same either way."""
        books = self._books
        offers = {machine.name: books.offers[machine.offer] for machine in machines}
        left: dict[str, list[Step]] = defaultdict(list)
        for step in steps:
            left[step.source].append(step)
        targets = {step.target for step in steps}
        before = after = NOTHING
        ended = []
        for name, leaving in left.items():
            node = books.nodes[name]
            if not node.removable:
                continue
            standing = Sums(node.hourly * self._hours, 0.0, 0.0, 0.0, 0.0, 0.0)
            before = add(before, standing)
            if name in targets or books.residents[name] - {step.job for step in leaving}:
                after = add(after, standing)
            else:
                ended.append(name)
                double = node.hourly * self._until_empty(leaving, offers) / HOUR
                after = add(after, Sums(0.0, double, 0.0, 0.0, 0.0, 0.0))
        for name in targets:
            hourly = self._opened(name, offers)
            after = add(after, Sums(hourly * self._hours, 0.0, 0.0, 0.0, 0.0, 0.0))
        for step in steps:
            job, place = books.jobs[step.job], self._place(step.target, offers)
            home = books.nodes[step.source]
            move = job.moves[place.site]
            horizon_s = books.problem.horizon_s
            before = add(before, Sums(0.0, 0.0, 0.0, 0.0, 0.0, risk(job, home, horizon_s)))
            there = risk(job, place, horizon_s)
            after = add(
                after, Sums(0.0, 0.0, move.egress, move.downtime_cost, move.failure_cost, there)
            )
        once = after.double + after.egress + after.downtime + after.failures
        return Account(before, after, once, tuple(sorted(ended)))

    def _place(self, name: str, offers: Mapping[str, Offer]) -> Node | Offer:
        found = self._books.nodes.get(name)
        return found if found is not None else offers[name]

    def _opened(self, name: str, offers: Mapping[str, Offer]) -> float:
        """What a target costs an hour only because something goes there."""
        node = self._books.nodes.get(name)
        if node is None:
            return offers[name].hourly
        return node.hourly if node.removable and not self._books.residents[name] else 0.0

    def _until_empty(self, leaving: list[Step], offers: Mapping[str, Offer]) -> float:
        """For so long a node that ends is paid beside where its jobs go: seconds."""
        seconds = boot = 0.0
        for step in leaving:
            place = self._place(step.target, offers)
            seconds += self._books.jobs[step.job].moves[place.site].seconds
            if isinstance(place, Offer):
                boot = max(boot, place.boot_s)
        return seconds + boot


def refused(problem: Problem, account: Account, jobs: Iterable[Job]) -> Bar | None:
    """Why steps with these sums are not worth it; None if they are."""
    saving = account.before.total - account.after.total
    unit = problem.currency
    if saving <= EPSILON:
        return Bar("no-saving", f"moving would cost {-saving:.2f} {unit} more than staying", "")
    threshold = problem.hysteresis * account.before.machines
    if saving <= threshold:
        why = f"it saves {saving:.2f} {unit}, and less than {threshold:.2f} counts as noise"
        return Bar("hysteresis", why, f"a saving of {threshold - saving:.2f} {unit} more")
    for job in jobs:
        if saving < job.min_saving - EPSILON:
            why = (
                f"{job.name} moves for {job.min_saving:.2f} {unit} at least; it saves {saving:.2f}"
            )
            more = job.min_saving - saving
            return Bar("min-saving", why, f"a saving of {more:.2f} {unit} more")
        earned = (saving + account.once) / problem.horizon_s
        if job.payback_s is not None and account.once > earned * job.payback_s + EPSILON:
            needs = account.once / earned
            why = (
                f"what it costs once is earned back in {needs / 86400:.1f} days; "
                f"{job.name} allows {job.payback_s / 86400:.1f}"
            )
            return Bar("payback", why, f"a pay-back of {needs / 86400:.1f} days in its policy")
    return None


def violations(problem: Problem, bundles: Sequence[Bundle]) -> list[Bar]:
    """Every rule that these bundles, carried out one after another, would break; empty: none.
    What was broken before and is left alone (an overbooked node) does not count."""
    return _Inspection(problem, bundles).run()


class _Inspection:
    """Carries bundles out in mind, wave by wave."""

    def __init__(self, problem: Problem, bundles: Sequence[Bundle]) -> None:
        self.problem = problem
        self.bundles = bundles
        self.books = _Ledger(problem)
        self.where = {job.name: job.host for job in problem.jobs}
        self.places: dict[str, Node | Offer] = dict(self.books.nodes)
        self.found: list[Bar] = []
        self.gone: set[str] = set()
        self.on: dict[str, set[str]] = defaultdict(set)
        for job in problem.jobs:
            self.on[job.host].add(job.name)

    def run(self) -> list[Bar]:
        self._counts()
        for bundle in self.bundles:
            for machine in bundle.machines:
                self.places[machine.name] = self.books.offers[machine.offer]
            for wave in bundle.waves:
                self._wave(wave)
            self._ended(bundle)
            self._worth(bundle)
        self._near()
        return self.found

    def _say(self, rule: str, why: str) -> None:
        self.found.append(Bar(rule, why, ""))

    def _counts(self) -> None:
        moved = Counter(step.job for bundle in self.bundles for step in bundle.steps)
        for name, times in moved.items():
            if times > 1:
                self._say("once", f"{name} moves {times} times")
        if moved.total() > self.problem.most_moves:
            self._say("most-moves", f"{moved.total()} moves, {self.problem.most_moves} allowed")
        machines = [machine for bundle in self.bundles for machine in bundle.machines]
        if len({machine.name for machine in machines}) < len(machines):
            self._say("machine", "two machines have one name")
        for key, count in Counter(machine.offer for machine in machines).items():
            if count > self.books.offers[key].most:
                self._say("most", f"{count} machines of {key}")
        for bundle in self.bundles:
            targets = {step.target for step in bundle.steps}
            for machine in bundle.machines:
                if machine.name not in targets:
                    self._say("machine", f"{machine.name} is made for nothing")

    def _wave(self, wave: Sequence[Step]) -> None:
        arriving: dict[str, list[Job]] = defaultdict(list)
        for step in wave:
            job = self.books.jobs[step.job]
            if self.where[job.name] != step.source or step.source == step.target:
                self._say("source", f"{job.name} is on {self.where[job.name]}")
            if step.target not in self.places:
                self._say("target", f"there is no {step.target}")
                continue
            self._may(job, step.target)
            arriving[step.target].append(job)
        for target, jobs in arriving.items():
            self._room(target, jobs)
        for step in wave:
            self.on[step.source].discard(step.job)
            self.on[step.target].add(step.job)
            self.where[step.job] = step.target

    def _may(self, job: Job, target: str) -> None:
        """One job's own rules for one target."""
        place = self.places[target]
        if job.pinned is not None:
            self._say("pinned", f"{job.name} is pinned")
        if place.site in job.barred or place.site not in job.moves:
            self._say("barred", f"{job.name} may not go to {place.site}")
        if place.spot and job.spot is not None:
            self._say("spot", f"{job.name} may not be on {target}")
        if place.arch != job.arch:
            self._say("arch", f"{job.name} cannot run on {target}")
        known = bool(place.features) or isinstance(place, Node)
        if known and not job.features <= place.features:
            self._say("features", f"{job.name} misses CPU flags on {target}")
        if isinstance(place, Node) and place.closed is not None:
            self._say("closed", f"{target} is closed")

    def _room(self, target: str, jobs: list[Job]) -> None:
        """While jobs arrive, all that is on the target and all that comes must find room."""
        place = self.places[target]
        if target in self.gone:
            self._say("ended", f"{target} has ended before {jobs[0].name} arrives")
        there = [self.books.jobs[name] for name in sorted(self.on[target])]
        memory = sum(job.memory for job in there) + sum(job.memory + job.arriving for job in jobs)
        cpus = sum(job.cpus for job in there) + sum(job.cpus for job in jobs)
        if memory > place.memory:
            self._say("memory", f"{memory} of {place.memory} bytes on {target}")
        if cpus > place.cpus + EPSILON:
            self._say("cpu", f"{cpus} of {place.cpus} cpus on {target}")
        marks = Counter(job.apart for job in there + jobs if job.apart)
        for job in jobs:
            if job.apart and marks[job.apart] > 1:
                self._say("apart", f"{job.name} meets {job.apart} on {target}")

    def _ended(self, bundle: Bundle) -> None:
        for name in bundle.ended:
            if not self.books.nodes[name].removable:
                self._say("removable", f"{name} cannot be ended")
            if self.on[name]:
                self._say("empty", f"{name} still has {sorted(self.on[name])}")
            self.gone.add(name)

    def _worth(self, bundle: Bundle) -> None:
        """The bundle tells its true sums, and they are worth it."""
        account = Accountant(self.problem).account(bundle.steps, bundle.machines)
        near = 1e-7 * (1 + abs(account.before.total) + abs(account.after.total))
        told = (bundle.before.total, bundle.after.total, bundle.once)
        true = (account.before.total, account.after.total, account.once)
        if any(abs(a - b) > near for a, b in zip(told, true, strict=True)):
            self._say("sums", f"told {told}, true {true}")
        if tuple(sorted(bundle.ended)) != account.ended:
            self._say("ended", f"told {bundle.ended}, true {account.ended}")
        bar = refused(self.problem, account, [self.books.jobs[s.job] for s in bundle.steps])
        if bar is not None:
            self.found.append(bar)

    def _near(self) -> None:
        moved = {step.job for bundle in self.bundles for step in bundle.steps}
        groups: dict[str, list[Job]] = defaultdict(list)
        for job in self.problem.jobs:
            if job.near:
                groups[job.near].append(job)
        for mark, jobs in groups.items():
            sites = {self.places[self.where[job.name]].site for job in jobs}
            if len(sites) > 1 and any(job.name in moved for job in jobs):
                self._say("near", f"{mark} would be at {sorted(sites)}")
