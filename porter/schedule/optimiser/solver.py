"""A mixed-integer program, put together row by row as arrays, and HiGHS that solves it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import highspy
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
INF = float("inf")
THREADS = 2


@dataclass
class Program:
    """Minimise `cost @ x` within bounds and rows."""

    cost: list[Floats] = field(default_factory=list)
    lower: list[Floats] = field(default_factory=list)
    upper: list[Floats] = field(default_factory=list)
    whole: list[NDArray[np.bool_]] = field(default_factory=list)
    columns: int = 0
    rows: int = 0
    _row_lower: list[Floats] = field(default_factory=list)
    _row_upper: list[Floats] = field(default_factory=list)
    _row: list[Ints] = field(default_factory=list)
    _column: list[Ints] = field(default_factory=list)
    _value: list[Floats] = field(default_factory=list)

    def add(
        self, cost: Floats, lower: float = 0.0, upper: float | Floats = 1.0, whole: bool = True
    ) -> Ints:
        """New variables; their numbers."""
        count = len(cost)
        self.cost.append(np.asarray(cost, dtype=float))
        self.lower.append(np.full(count, lower))
        self.upper.append(np.broadcast_to(np.asarray(upper, dtype=float), (count,)))
        self.whole.append(np.full(count, whole))
        first = self.columns
        self.columns += count
        return np.arange(first, self.columns)

    def row(
        self, columns: Ints | list[int], values: Floats | list[float], lower: float, upper: float
    ) -> None:
        """lower <= values @ x[columns] <= upper."""
        self.block(np.zeros(len(columns), dtype=np.int64), columns, values, [lower], [upper])

    def block(
        self,
        rows: Ints | list[int],
        columns: Ints | list[int],
        values: Floats | list[float],
        lower: Floats | list[float],
        upper: Floats | list[float],
    ) -> None:
        """Several rows; `rows` count from 0 within the block."""
        self._row.append(np.asarray(rows, dtype=np.int64) + self.rows)
        self._column.append(np.asarray(columns, dtype=np.int64))
        self._value.append(np.asarray(values, dtype=float))
        self._row_lower.append(np.asarray(lower, dtype=float))
        self._row_upper.append(np.asarray(upper, dtype=float))
        self.rows += len(self._row_lower[-1])

    def model(self, relaxed: bool = False) -> highspy.HighsLp:
        lp = highspy.HighsLp()
        lp.num_col_ = self.columns
        lp.num_row_ = self.rows
        lp.col_cost_ = np.concatenate(self.cost)
        lp.col_lower_ = np.concatenate(self.lower)
        lp.col_upper_ = np.concatenate(self.upper)
        lp.row_lower_ = np.concatenate(self._row_lower or [np.zeros(0)])
        lp.row_upper_ = np.concatenate(self._row_upper or [np.zeros(0)])
        row = np.concatenate(self._row or [np.zeros(0, dtype=np.int64)])
        order = np.argsort(row, kind="stable")
        starts = np.zeros(self.rows + 1, dtype=np.int32)
        starts[1:] = np.cumsum(np.bincount(row, minlength=self.rows))
        lp.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
        lp.a_matrix_.start_ = starts
        empty = np.zeros(0)
        lp.a_matrix_.index_ = np.concatenate([*self._column, empty])[order].astype(np.int32)
        lp.a_matrix_.value_ = np.concatenate(self._value or [empty])[order]
        if not relaxed:
            kinds = (highspy.HighsVarType.kContinuous, highspy.HighsVarType.kInteger)
            lp.integrality_ = [kinds[int(whole)] for whole in np.concatenate(self.whole)]
        return lp


@dataclass(frozen=True)
class Solved:
    """`x` is None when nothing was found in time. `bound` is proven in any case."""

    x: Floats | None
    objective: float
    bound: float
    optimal: bool
    infeasible: bool = False


class Quiet(highspy.Highs):
    """HiGHS prints its name at the first call, before it can be told to be quiet otherwise."""

    def enableCallbacks(self) -> None:
        self.setOptionValue("output_flag", False)
        super().enableCallbacks()


def run(highs: Quiet, deadline: float) -> bool:
    """Solve what `highs` has until a moment of `time.monotonic()`; True if to the end."""
    left = deadline - time.monotonic()
    if left <= 0:
        return False
    # its clock counts all runs together
    highs.setOptionValue("time_limit", highs.getRunTime() + left)
    highs.run()
    highs.setOptionValue("solver", "simplex")
    return bool(highs.getModelStatus() == highspy.HighsModelStatus.kOptimal)


def relaxed(program: Program, interior: bool = False) -> Quiet:
    """A solver that has the program without its whole numbers, to be solved again and again.
    `interior`: the first time by interior points, which a large program may need a tenth of the
    time for; afterwards simplex goes on from there."""
    highs = Quiet()
    highs.setOptionValue("threads", THREADS)
    if interior:
        highs.setOptionValue("solver", "ipx")
    highs.passModel(program.model(relaxed=True))
    return highs


def solve(
    program: Program,
    seconds: float,
    start: Floats | None = None,
    gap: float = 0.0,
    options: dict[str, float | int | str | bool] | None = None,
) -> Solved:
    """Solve within so many seconds, from `start` if it is given. Blocks."""
    highs = Quiet()
    highs.setOptionValue("threads", THREADS)
    highs.setOptionValue("random_seed", 1)
    highs.setOptionValue("time_limit", max(0.01, seconds))
    highs.setOptionValue("mip_rel_gap", gap)
    highs.setOptionValue("mip_abs_gap", 1e-9)
    highs.setOptionValue("mip_feasibility_tolerance", 1e-7)
    for name, value in (options or {}).items():
        highs.setOptionValue(name, value)
    highs.passModel(program.model())
    if start is not None:
        solution = highspy.HighsSolution()
        solution.col_value = start.tolist()
        highs.setSolution(solution)
    highs.run()
    status = highs.getModelStatus()
    info = highs.getInfo()
    if status == highspy.HighsModelStatus.kInfeasible:
        return Solved(None, INF, INF, True, True)
    found = info.primal_solution_status == highspy.SolutionStatus.kSolutionStatusFeasible
    x = np.array(highs.getSolution().col_value) if found else None
    optimal = status == highspy.HighsModelStatus.kOptimal
    objective = float(info.objective_function_value) if found else INF
    whole = any(part.any() for part in program.whole)
    bound = float(info.mip_dual_bound) if whole else (objective if optimal else -INF)
    return Solved(x, objective, bound, optimal)
