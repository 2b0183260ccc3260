"""Names the types and traits of unstable (0.x) crates that the public API of our libraries shows.

usage: foreign.py METADATA FOLDER CRATE…: what `cargo metadata` says, and rustdoc's JSON of the crates.
"""

import json
import pathlib
import sys

# Tower's two traits are what layers are made of, and have been stable for years.
WELCOME = {"tower_layer", "tower_service"}


def main(metadata, folder, *crates):
    metadata = json.loads(pathlib.Path(metadata).read_text())
    packages = {package["id"]: package for package in metadata["packages"]}
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    ours = {packages[member]["name"]: member for member in metadata["workspace_members"]}
    found = 0
    for crate in crates:
        docs = json.loads(pathlib.Path(folder, f"{crate.replace('-', '_')}.json").read_text())
        versions = reachable(ours[crate], packages, nodes)
        # A feature that is named like a crate is a promise to follow that crate.
        chosen = {
            feature.replace("-", "_")
            for feature, enables in packages[ours[crate]]["features"].items()
            if f"dep:{feature}" in enables
        }
        shown = {}
        for item in public_items(docs):
            for path in paths_in(item["inner"], docs):
                shown.setdefault(path, item)
        foreign = sorted({path[0] for path in shown})
        print(f"{crate} shows: {', '.join(foreign) or 'nothing foreign'}")
        for path, item in sorted(shown.items()):
            name = path[0]
            if name in WELCOME or name in chosen:
                continue
            assert name in versions, f"{crate} shows {name}, which it does not depend on"
            unstable = sorted(version for version in versions[name] if version.startswith("0."))
            if unstable:
                found += 1
                print(
                    f"{crate} shows {'::'.join(path)} of {name} {unstable[0]} in {where(item)}",
                    file=sys.stderr,
                )
    return found


def reachable(root, packages, nodes):
    """The versions of all crates, by the names of their libraries, that a package is built with."""
    versions, pending, seen = {}, [root], {root}
    while pending:
        package = packages[pending.pop()]
        for target in package["targets"]:
            if {"lib", "rlib", "proc-macro"} & set(target["kind"]):
                name = target["name"].replace("-", "_")
                # All of ours are released together, under one version.
                version = "ours" if package["source"] is None else package["version"]
                versions.setdefault(name, set()).add(version)
        for dependency in nodes[package["id"]]["deps"]:
            if dependency["pkg"] not in seen and any(
                kind["kind"] is None for kind in dependency["dep_kinds"]
            ):
                seen.add(dependency["pkg"])
                pending.append(dependency["pkg"])
    return versions


def public_items(docs):
    """What is written in the crate: not what the compiler adds to it, nor impls for every type."""
    index = docs["index"]
    added = set()
    for item in index.values():
        impl = item["inner"].get("impl")
        if impl and (impl["is_synthetic"] or impl["blanket_impl"]):
            added |= {item["id"], *impl["items"]}
    return [item for item in index.values() if item["crate_id"] == 0 and item["id"] not in added]


def paths_in(node, docs):
    """The full paths of foreign items that a part of the API names."""
    if isinstance(node, list):
        for part in node:
            yield from paths_in(part, docs)
    elif isinstance(node, dict):
        # A `Path` or a `Use`, but not an item's list of children.
        if "id" in node and ("path" in node or "source" in node):
            summary = docs["paths"].get(str(node["id"]))
            if summary and summary["crate_id"] != 0 and not standard(summary, docs):
                path = tuple(summary["path"])
                # What macros generate is not for users to name.
                if not any(part.startswith("__") for part in path):
                    yield path
        for part in node.values():
            yield from paths_in(part, docs)


def standard(summary, docs):
    url = docs["external_crates"][str(summary["crate_id"])]["html_root_url"]
    return (url or "").startswith("https://doc.rust-lang.org/")


def where(item):
    span = item["span"]
    return f"{span['filename']}:{span['begin'][0]}" if span else item["name"]


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]) > 0)
