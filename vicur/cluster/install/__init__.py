"""Install and uninstall an overlay of ``k8s/`` with ``kubectl``: what docs/kubernetes.md describes as steps 3 to 5.

Everything goes through ``kubectl``, so that contexts, credentials and kustomize behave as they do by hand.
"""

from vicur.cluster.install.installation import Installation, install
from vicur.cluster.install.kubectl import Kubectl
from vicur.cluster.install.manifests import OVERLAYS, Kustomizations, find_manifests
from vicur.cluster.install.removal import Removal

__all__ = ["OVERLAYS", "Installation", "Kubectl", "Kustomizations", "Removal", "find_manifests", "install"]
