"""Decisions -> a published dataset, in this process: read, deal, pack every shard that is not there, prove, publish.

For tests and small stores; the flow packs with many workers, by the same steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shards.commit import Ledger, Plan, Receipt, Unit
from shards.deal import PackConfig, split_identities
from shards.harvest import Accept, harvest
from shards.index import DatasetInfo
from shards.leases import hold_lease
from shards.publish import publish
from shards.shard import STAGE, pack_shard, plan_shards

__all__ = ["Accept", "PackConfig", "finalize", "open_shards", "split_identities"]


def finalize(
    ledger: Ledger,
    plan: Plan,
    config: PackConfig,
    *,
    accept: Accept | None = None,
    thresholds: Mapping[str, Any] | None = None,
) -> DatasetInfo:
    """From decisions to a published dataset, all in this process. Again, it changes nothing."""
    harvested = harvest(ledger, plan, accept=accept)
    harvested.check()
    harvested.need_samples()
    packing = plan_shards(harvested, config)
    # Said first: a sweep leaves alone what these plans name.
    with hold_lease(ledger.store, STAGE, reads=(plan.plan_id, packing.plan.plan_id)) as lease:
        for unit in open_shards(ledger, packing.plan):
            pack_shard(ledger, ledger.begin(unit, lease.run, is_isolated=False))
        return publish(ledger, harvested, packing, config, lease=lease, thresholds=thresholds or {}).info


def open_shards(ledger: Ledger, plan: Plan) -> list[Unit]:
    """Writes the plan; the shards that are to be packed.

    Those that an earlier run gave up are among them: no dataset is whole without them, and the cause may be mended.
    """
    ledger.write_plan(plan)
    for decision in ledger.decisions(plan.units):
        if not isinstance(decision.result, Receipt):
            ledger.void(decision.unit_id, "retry", "no dataset is whole without this shard", epoch=decision.epoch)
    return ledger.pending(plan)
