# chapter × seed × profile → executed notebook and results → record.
#
# For clusters, with an executor plugin; on one machine `make reference` does the same without Snakemake. To try it:
#     snakemake --cores 4 reference --config profile=cpu seeds=5 chapters=01_objectives,02_wasserstein
# A run is made again when its fingerprint file is newer than its results. That file is written here, and only when
# the fingerprint (code, imported modules, parameters, data) changed: so its time of change means a change of content.
import os
import sys

sys.path.insert(0, workflow.basedir)
from pipeline import Run, choose_chapters, write_atomic
from pipeline.fingerprint import run_fingerprint

PROFILE = str(config.get("profile", "cpu"))
SEEDS = range(int(config.get("seeds", 5)))
CHAPTERS = choose_chapters(PROFILE, str(config.get("chapters", "all")))
RUN = "_build/runs/{profile}/{chapter}/"
PYTHON = sys.executable

for chapter in CHAPTERS:
    path = Run(PROFILE, chapter, 0).folder.parent / "fingerprint.txt"
    value = run_fingerprint(chapter, PROFILE) + "\n"
    if not path.exists() or path.read_text() != value:
        write_atomic(path, value)


localrules: reference, record


wildcard_constraints:
    profile="[a-z]+",
    chapter="[0-9a-z_]+",
    seed="[0-9]+",


# All chapters with all seeds, and their records in book/reference.
rule reference:
    input:
        expand(RUN + "recorded", profile=PROFILE, chapter=CHAPTERS),


rule record:
    input:
        lambda found: expand(RUN + "seed{seed}/results.json", seed=SEEDS, **found),
    output:
        touch(RUN + "recorded"),
    params:
        seeds=len(SEEDS),
    shell:
        "cd {workflow.basedir:q} && {PYTHON:q} -m pipeline record --profile {wildcards.profile}"
        " --chapters {wildcards.chapter} --seeds {params.seeds}"


rule chapter:
    input:
        RUN + "fingerprint.txt",
    output:
        RUN + "seed{seed}/notebook.ipynb",
        RUN + "seed{seed}/results.json",
    log:
        RUN + "seed{seed}/log.txt",
    threads: 1
    resources:
        mem_mb=4000,
        runtime=120,
    shell:
        "cd {workflow.basedir:q} && {PYTHON:q} -m pipeline execute --profile {wildcards.profile}"
        " --chapters {wildcards.chapter} --seed {wildcards.seed} > {log:q} 2>&1"
