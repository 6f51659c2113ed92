"""`dubwright store ...`: what is in a store, whether it is whole, to be tried again, to be swept.

Reads arguments and prints; the answers are `shards`'.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.answer import EXIT_SYSTEM, AsJson, DryRun, answering, lines

if TYPE_CHECKING:
    from shards.verify import Verification

store_app = typer.Typer(help="What is done, rejected and quarantined in a store.", no_args_is_help=True)

Where = Annotated[str, typer.Argument(metavar="STORE", help="folder or URI of the store")]


@store_app.command("status")
def status(store: Where, as_json: AsJson = False) -> None:
    """Plans with their accounts, datasets, who is at work, what was given up and why."""
    with answering(as_json) as answer:
        from shards.status import status as look
        from shards.store import open_store

        found = look(open_store(store, create=False))
        answer(found, _status_text(found))


@store_app.command("verify")
def verify(
    store: Where,
    quick: Annotated[bool, typer.Option(help="of objects ask only the sizes, by one listing")] = False,
    as_json: AsJson = False,
) -> None:
    """Re-hash every object and re-read every row; names what is damaged, and the units to do again."""
    with answering(as_json) as answer:
        found = _verified(store, quick)
        answer(_verify_value(found), _verify_text(found))
        if found.damaged:
            raise typer.Exit(EXIT_SYSTEM)


@store_app.command("retry")
def retry(
    store: Where,
    units: Annotated[list[str] | None, typer.Argument(metavar="[UNIT]...", help="these, whatever they came to")] = None,
    damaged: Annotated[bool, typer.Option("--damaged", help="verify, and do again what is damaged")] = False,
    as_json: AsJson = False,
) -> None:
    """Open what is in quarantine again (or the units named): the next run that wants it does it anew."""
    with answering(as_json) as answer:
        from shards.commit import Ledger
        from shards.errors import RequestError
        from shards.fingerprint import plain
        from shards.repair import reopen, repair
        from shards.store import open_store

        if units and damaged:
            raise RequestError("give units or --damaged, not both", field="--damaged")
        if damaged:
            repaired = repair(open_store(store, create=False), _verified(store, quick=False))
            left = [f"{damage.path}: {damage.problem}; {damage.remedy}" for damage in repaired.left]
            shown = {"opened": list(repaired.units), "removed": list(repaired.removed), "left": left}
            answer(plain(repaired), lines(shown))
            return
        opened = reopen(Ledger(open_store(store, create=False)), units or ())
        answer({"opened": opened}, lines({"opened": opened}))


@store_app.command("gc")
def gc(
    store: Where,
    keep: Annotated[int, typer.Option(min=1, help="how many of the newest datasets stay")] = 3,
    forget_plans: Annotated[
        float | None,
        typer.Option(min=1, metavar="DAYS", help="forget plans unused for so long, and their units"),
    ] = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Sweep: remove what nobody needs. Safe while runs are going on."""
    with answering(as_json) as answer:
        from flows.cluster.progress import Progress
        from shards.fingerprint import plain
        from shards.store import open_store
        from shards.sweep import sweep

        opened = open_store(store, create=False)
        with Progress("removed") as progress:
            swept = sweep(
                opened,
                keep_datasets=keep,
                forget_plans_days=forget_plans,
                dry_run=dry_run,
                on_removed=progress.advance,
            )
        answer(plain(swept), _swept_text(plain(swept)))


def _verified(store: str, quick: bool) -> Verification:
    from flows.cluster.progress import Progress
    from shards.store import open_store
    from shards.verify import verify as read_all

    with Progress("objects") as progress:
        return read_all(open_store(store, create=False), quick=quick, watch=progress)


# -- in words ----------------------------------------------------------------------------------------------------------


def _status_text(found: dict[str, Any]) -> str:
    told = [found["uri"], "", "plans, the newest first:"]
    told += [f"  {_plan_line(plan)}" for plan in found["plans"]] or ["  none"]
    told += ["", "datasets:"]
    told += [f"  {_dataset_line(dataset, found['current'])}" for dataset in found["datasets"]] or ["  none"]
    told += ["", "at work:"]
    told += [f"  {_run_line(run)}" for run in found["runs"]] or ["  nobody"]
    if found["sweep"]:
        told.append(f"  sweep {found['sweep']['number']} by {found['sweep']['holder']}")
    if found["quarantined"]:
        told += ["", f"given up (the first {len(found['quarantined'])}; `dubwright store retry` opens them again):"]
    for unit in found["quarantined"]:
        told += [f"  {unit['unit_id']}: {unit['error_class']}: {unit['message']}", f"    see it: {unit['reproduce']}"]
    if found["unreadable"]:
        told += ["", f"unreadable decisions: {len(found['unreadable'])}; `dubwright store verify` names them"]
    if found["reopened"]:
        told += ["", "opened again: " + ", ".join(f"{number} {reason}" for reason, number in found["reopened"].items())]
    return "\n".join(told)


def _plan_line(plan: dict[str, Any]) -> str:
    if "problem" in plan:
        return f"{plan['plan_id'][:12]} {plan['problem']}"
    counts = ", ".join(f"{number} {name}" for name, number in plan["account"].items() if name != "planned" and number)
    return f"{plan['plan_id'][:12]} {plan['stage']}: {plan['account']['planned']} planned = {counts or 0}"


def _dataset_line(dataset: dict[str, Any], current: str | None) -> str:
    mark = " (current)" if dataset["hash"] == current else ""
    if "problem" in dataset:
        return f"{dataset['hash']}{mark}: {dataset['problem']}"
    splits = ", ".join(f"{number} {split}" for split, number in dataset["samples_by_split"].items())
    size = f"{dataset['hours']:.2f} h, {dataset['size_bytes'] / 1e6:.1f} MB"
    return f"{dataset['hash']}{mark}: {dataset['num_samples']} samples ({splits}), {size}"


def _run_line(run: dict[str, Any]) -> str:
    reads = f", reads {', '.join(name[:12] for name in run['reads'])}" if run["reads"] else ""
    state = "" if run["is_alive"] else " - over, or out of touch"
    return f"{run['holder']}, since {run['since']}, seen {run['seen_s_ago']} s ago{reads}{state}"


def _verify_value(found: Verification) -> dict[str, Any]:
    from shards.fingerprint import plain

    named = {"units_to_redo": list(found.units_to_redo), "datasets_hit": list(found.datasets_hit)}
    return {**plain(found), **named}


def _verify_text(found: Verification) -> str:
    how = "sizes of" if found.is_quick else "every byte of"
    told = [f"{how} {found.objects} objects ({found.size_bytes / 1e6:.1f} MB), {found.samples} samples in them"]
    if found.unnamed:
        told.append(f"{found.unnamed} objects that nobody names ({found.unnamed_bytes / 1e6:.1f} MB): see `store gc`")
    if not found.damaged:
        return "\n".join([*told, "all whole"])
    for damage in found.damaged:
        told += [f"{damage.kind} {damage.path}: {damage.problem}", f"  mend: {damage.remedy}"]
    told.append(f"units to do again: {', '.join(found.units_to_redo) or 'none'}")
    told.append(f"datasets that are not whole: {', '.join(found.datasets_hit) or 'none'}")
    return "\n".join(told)


def _swept_text(swept: dict[str, Any]) -> str:
    told = ["would be removed:" if swept["is_dry_run"] else "removed:"]
    told += [f"  dataset {name}" for name in swept["datasets"]] + [f"  plan {plan_id}" for plan_id in swept["plans"]]
    counts = {
        "objects that nobody needs": swept["objects"],
        "decisions that count no more": swept["decisions"],
        "files left by tries of decided units": swept["tries"],
        "leases that ran out": swept["leases"],
        "things that killed writers left": swept["leftovers"],
    }
    told += [f"  {number} {what}" for what, number in counts.items() if number]
    told += ["  nothing"] if len(told) == 1 else [f"  {swept['freed_bytes'] / 1e6:.1f} MB"]
    if swept["units_forgotten"]:
        told.append(f"units that no plan names any more: {swept['units_forgotten']}")
    if swept["units_fenced"]:
        told.append(f"units whose tries were of runs that are over: {', '.join(swept['units_fenced'])}")
    told.append("objects that stay: " + ", ".join(f"{number} {why}" for why, number in swept["kept"].items()))
    told += [f"in use: {name} by {holder}" for name, holder in swept["in_use"].items()]
    return "\n".join(told)
