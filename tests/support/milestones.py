"""The milestones of a run in which no boot loader ran first, in their order."""

from __future__ import annotations

from efishim.lab.record import Milestone

WITHOUT_LOADER = [one for one in Milestone if one is not Milestone.LOADER]
