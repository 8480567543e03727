"""What the sensors say and whether to believe it: pure."""

from thermal.judge.judge import hottest, judge
from thermal.judge.rules import TJ, Rules
from thermal.judge.state import Hot, JudgeState, Readings

__all__ = ["TJ", "Hot", "JudgeState", "Readings", "Rules", "hottest", "judge"]
