"""Packing's worker, as the engine drives it."""

from __future__ import annotations

import pickle
from pathlib import Path

from flows.workers.pack import PackWorker
from shards.commit import Ledger
from shards.deal import PackConfig
from shards.harvest import harvest
from shards.shard import plan_shards
from shards.store import open_store
from tests.support.datasets import commit_clips, make_plan, unit_clips


def test_a_worker_packs_one_shard_after_the_other_from_what_the_claims_say(tmp_path: Path) -> None:
    ledger, plan = Ledger(open_store(tmp_path / "s")), make_plan(2)
    for number in range(2):
        commit_clips(ledger, f"unit-{number}", unit_clips(number, 2), tmp_path)
    packing = plan_shards(harvest(ledger, plan), PackConfig(target_bytes=20_000, val_share=0, test_share=0))
    worker: PackWorker = pickle.loads(pickle.dumps(PackWorker(ledger.store.uri)))  # noqa: S301
    worker.setup()
    receipts = [worker.process(ledger.begin(unit, "test")) for unit in packing.plan.units]
    worker.close()
    assert len(receipts) > 1
    assert receipts == [ledger.receipt(unit.unit_id) for unit in packing.plan.units]
    assert ledger.pending(packing.plan) == []
