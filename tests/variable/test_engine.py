"""The search for symbols that goes by what the decoder makes of them."""

import numpy as np

import tiny
from sarcodec.codec import engine
from sarcodec.container import header
from sarcodec.entropy import scale
from sarcodec.variable import engine as variable_engine

STEP = 1700


def cost(effort: int) -> float:
    """Squared error of the decoded core in squared steps, and bits times λ, a pixel."""
    model, db = tiny.variable(), tiny.simulated_db((256, 240), 9)
    coder = variable_engine.VariableEngine(model).at([header.Band.of_offset(-12.0)], STEP, effort)
    core: engine.Core = slice(32, 224), slice(32, 240)
    (tile,) = coder.encode([db], core, [np.ones(db.shape, bool)])
    error = np.mean(((tile.preview() - db[core]) / scale.step_db(STEP)) ** 2)
    return float(error + model.rate_weight * 8 * len(tile.data) / db[core].size)


def test_more_effort_costs_less() -> None:
    """The network of the tiny model is random and harms: efforts of two and more know, and make up for it."""
    once, twice, four_times = (cost(effort) for effort in (1, 2, 4))
    assert twice < 0.98 * once
    assert four_times < twice
