"""Which connections a set of NetworkPolicies allows, by the rules in Kubernetes' documentation.

This replaces a network plugin, which only a cluster has. Supported are pod and namespace selectors, address blocks with exceptions, and
numbered ports. Policies are additive; a pod that a policy selects in a direction rejects everything in that direction that is not allowed.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Any

from tests.k8s.render import Manifest


@dataclass(frozen=True)
class Peer:
    """A pod with its labels and namespace, or an address outside the cluster."""

    namespace: str = ""
    labels: tuple[tuple[str, str], ...] = ()
    address: str = ""


def pod(namespace: str, labels: dict[str, str]) -> Peer:
    """Return a pod as a peer."""
    return Peer(namespace, tuple(sorted(labels.items())))


def reaches(policies: list[Manifest], source: Peer, target: Peer, port: int, protocol: str = "TCP") -> bool:
    """Return whether the policies of both ends allow a connection from ``source`` to ``target`` at ``port``."""
    return _passes(policies, source, target, port, protocol, "egress", "to") and _passes(
        policies, target, source, port, protocol, "ingress", "from"
    )


def _passes(
    policies: list[Manifest], end: Peer, other: Peer, port: int, protocol: str, direction: str, peers: str
) -> bool:
    if end.address:
        return True
    mine = [
        p["spec"]
        for p in policies
        if p["metadata"]["namespace"] == end.namespace
        and direction.capitalize() in p["spec"]["policyTypes"]
        and _selects(p["spec"]["podSelector"], dict(end.labels))
    ]
    if not mine:
        return True
    rules = [rule for spec in mine for rule in spec.get(direction, [])]
    return any(_port_allowed(r, port, protocol) and _peer_allowed(r.get(peers), end, other) for r in rules)


def _port_allowed(rule: Manifest, port: int, protocol: str) -> bool:
    return "ports" not in rule or any(p["port"] == port and p.get("protocol", "TCP") == protocol for p in rule["ports"])


def _peer_allowed(peers: list[Manifest] | None, end: Peer, other: Peer) -> bool:
    return peers is None or any(_is_peer(peer, end, other) for peer in peers)


def _is_peer(peer: Manifest, end: Peer, other: Peer) -> bool:
    if other.address:
        block = peer.get("ipBlock", {"cidr": "255.255.255.255/32"})
        address = ipaddress.ip_address(other.address)
        without = (ipaddress.ip_network(each) for each in block.get("except", []))
        return address in ipaddress.ip_network(block["cidr"]) and not any(address in each for each in without)
    # Network plugins differ in whether an address block applies to pods.
    if "ipBlock" in peer:
        return False
    space = {"kubernetes.io/metadata.name": other.namespace}
    same_namespace = (
        _selects(peer["namespaceSelector"], space) if "namespaceSelector" in peer else other.namespace == end.namespace
    )
    return same_namespace and _selects(peer.get("podSelector", {}), dict(other.labels))


def _selects(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    if not selector.get("matchLabels", {}).items() <= labels.items():
        return False
    return all(_matches(e, labels) for e in selector.get("matchExpressions", []))


def _matches(expression: dict[str, Any], labels: dict[str, str]) -> bool:
    key = expression["key"]
    match expression["operator"]:
        case "Exists":
            return key in labels
        case "DoesNotExist":
            return key not in labels
        case "In":
            return labels.get(key) in expression["values"]
        case "NotIn":
            return labels.get(key) not in expression["values"]
    raise ValueError(f"unknown operator of a selector: {expression['operator']}")
