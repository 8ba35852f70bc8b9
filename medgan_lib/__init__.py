"""The thin library behind an executable review of GANs in biomedical imaging. Each room answers one question.

====================  ================================================================================================
``objectives``        what is minimised: Table 1, Eqs. 1-5, penalties
``networks``          what plays: one file a family, 1-D, 2-D and 3-D
``methods``           who plays: one file a method, one ``step`` that reads like the paper
``training``          how it runs: the loop, checkpoints, devices, progress
``cohorts``           what it is played on: ``simulated``, ``public``, and ``problems`` made of them
``physics``           how an image comes about: MR signal, CT projection and dose, PET, stains, vessels
``metrics``           how good it is: distances, the one trained judge, copies, masks, errors, trivial answers
``ledger``            what follows from it: claims, verdicts, records
``figures``           what it looks like
``files``             image files in and out, safely
``own_images``        a reader's folder, from a survey to a report: what ``python -m medgan_lib`` runs
====================  ================================================================================================

Importing it has no side effect: no seed, no download, no style.
"""

__version__ = "0.1.0"
