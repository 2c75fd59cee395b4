"""Clocks and a card that misbehave."""

from __future__ import annotations

import random
from pathlib import Path

from experiments.replayed import BACKENDS, keys, replay
from experiments.sweep import Experiment, ended, rows, run


def clocks(folder: Path) -> Experiment:
    """Clocks and a card that misbehave, played by a replay."""
    noise = random.Random(1)
    times_ms = [round(1 + 0.002 * noise.random(), 6) for _ in range(100)]
    scripts = {
        63: "",
        64: "jump_ms = 5000.0",
        65: "jump_ms = -5000.0",
        66: "slowdown = 1.3",
        67: "drift = 0.3",
        68: 'state = { sm_mhz = 800, temperature_c = 95, slowdowns = ["thermal"] }\nafter = 0.9',
        69: "silent = true",
    }
    text = ""
    for length, script in scripts.items():
        text += f'[[case]]\nmatch = "*,t{length},*"\ntimes_ms = {times_ms}\n{script}\n'
    device = folder / "device"
    device.mkdir()
    (device / "replay.toml").write_text(text)
    made = Experiment(folder=folder / "out", cases=keys(scripts, BACKENDS[:1]))
    command = replay(device, made.folder, "63..69:+1", BACKENDS[:1])
    code, _, made.said = run(*command)
    made.ended, made.first = ended(made.said), rows(made.folder)
    resumed, _, made.resumed_said = run(*command, "--resume")
    made.codes, made.resumed = [code, resumed], rows(made.folder)
    return made
