"""What it looks like: figures that work in the rendered book, in Jupyter and on Colab.

Every function takes ``alt``, what one sees, and returns an object whose HTML carries its picture inside: no file, no
kernel and no network is needed to show it, and two equal runs give equal HTML. Text stays readable when the page is
400 pixels wide, and pictures keep their own white card, so that they can be read on a dark page too.
"""

from medgan_lib.figures.diagrams import Arrow, Box, Diagram, diagram
from medgan_lib.figures.grids import compare, samples
from medgan_lib.figures.live_cohorts import cohort_picker
from medgan_lib.figures.live_models import live
from medgan_lib.figures.live_sliders import sliders
from medgan_lib.figures.live_steps import stepper
from medgan_lib.figures.live_views import LiveView
from medgan_lib.figures.pictures import Picture, origin
from medgan_lib.figures.players import Player, player
from medgan_lib.figures.playgrounds import Playground, playground
from medgan_lib.figures.plots import curves, picture, subplots
from medgan_lib.figures.quizzes import Quiz, quiz
from medgan_lib.figures.sources import Source, source
from medgan_lib.figures.style import DASHES, PALETTE
from medgan_lib.figures.tables import Table, table

__all__ = [
    "DASHES",
    "PALETTE",
    "Arrow",
    "Box",
    "Diagram",
    "LiveView",
    "Picture",
    "Player",
    "Playground",
    "Quiz",
    "Source",
    "Table",
    "cohort_picker",
    "compare",
    "curves",
    "diagram",
    "live",
    "origin",
    "picture",
    "player",
    "playground",
    "quiz",
    "samples",
    "sliders",
    "source",
    "stepper",
    "subplots",
    "table",
]
