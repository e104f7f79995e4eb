"""Who takes part, by name."""

import os

from testbed.migrations import Certificates, GodwitMigration, QemuMigration, SharedKey

# As many streams as the smallest machine has cores; Godwit and multifd get the same.
_STREAMS = 2

# Enough for everything that the guest rewrites: a smaller cache would be a handicap.
_XBZRLE_CACHE_BYTES = 256 << 20

BASELINE = "qemu"

# What users get who set nothing, and what they would get from QEMU.
OURS = "godwit"
OURS_RAW = "godwit-raw"
# For VMs that cannot go the direct way; takes part only if it is named.
STREAM = "godwit-stream"
OTHER = "godwit-other"
QEMU_COMPRESSED = "qemu-multifd-zstd"
_HINTED = "-hint"
# With TLS by certificates both ways, or by a key that both sides have; take part only if they are named.
_BY_CERTIFICATES, _BY_KEY = "-tls", "-psk"
_ENCRYPTED = (_BY_CERTIFICATES, _BY_KEY)

# For --contenders: each that there is with TLS, behind itself in the clear.
TLS_BESIDE_PLAIN = "tls-beside-plain"
# With a device that encodes; take part only if they are named.
_BY_DEVICE = ("godwit-qat", "godwit-iaa", "qemu-multifd-qatzip", "qemu-multifd-qpl")


def is_qemu(name):
    """Whether it is a mode of QEMU's that any guest can have, in the clear."""
    return name.split("-")[0] == BASELINE and not name.endswith(_HINTED) and not is_encrypted(name)


def is_hinted(name):
    """Whether it is a mode of QEMU's for guests whose balloon tells it of free pages."""
    return name.split("-")[0] == BASELINE and name.endswith(_HINTED)


def is_encrypted(name):
    return name.endswith(_ENCRYPTED)


def in_the_clear(name):
    """The name of the same without TLS."""
    for ending in _ENCRYPTED:
        name = name.removesuffix(ending)
    return name


def make(names, godwit, report_path, max_downtime_ms, lanes=_STREAMS, keys_folder=None, other_godwit=None):
    """The contenders of these names, in this order. Godwit has `lanes` lanes, and multifd as many channels. Keys and
    certificates are made in `keys_folder` if one of them is to use TLS. `other_godwit`: another build of it, which takes
    part if it is named."""
    streams = {"multifd-channels": lanes}
    twice = ["qemu-multifd", QEMU_COMPRESSED, OURS, OURS_RAW]
    if names == [TLS_BESIDE_PLAIN]:
        names = [name + ending for name in twice for ending in ("", *_ENCRYPTED)]
    makers = {_BY_CERTIFICATES: lambda: Certificates(godwit, os.path.join(keys_folder, "pki")),
              _BY_KEY: lambda: SharedKey(os.path.join(keys_folder, "psk"))}
    proofs = {ending: makers[ending]() for ending in _ENCRYPTED if any(name.endswith(ending) for name in names)}

    def tls(name):
        return next((proof for ending, proof in proofs.items() if name.endswith(ending)), None)

    def qemu(name, capabilities=(), **parameters):
        parameters = {key.replace("_", "-"): value for key, value in parameters.items()}
        return QemuMigration(name, capabilities, parameters, max_downtime_ms, hints=is_hinted(name),
                             tls=tls(name))

    def own(name, *options, binary=godwit):
        return GodwitMigration(name, binary, ["--lanes", str(lanes), *options], max_downtime_ms, report_path,
                               tls=tls(name))

    every = [
        qemu("qemu"),
        qemu("qemu-multifd", ["multifd"], **streams),
        qemu(QEMU_COMPRESSED, ["multifd"], **streams, multifd_compression="zstd"),
        qemu(QEMU_COMPRESSED + _HINTED, ["multifd"], **streams, multifd_compression="zstd"),
        qemu("qemu-xbzrle", ["xbzrle"], xbzrle_cache_size=_XBZRLE_CACHE_BYTES),
        qemu("qemu-auto-converge", ["auto-converge"]),
        own(OURS),
        own(OTHER, binary=other_godwit),
        own(OURS_RAW, "--codec", "raw"),
        own("godwit-lz4", "--codec", "lz4"),
        own("godwit-zstd", "--codec", "zstd"),
        own(STREAM, "--devices", "stream"),
        own("godwit-qat", "--codec", "qat"),
        own("godwit-iaa", "--codec", "iaa"),
        qemu("qemu-multifd-qatzip", ["multifd"], **streams, multifd_compression="qatzip"),
        qemu("qemu-multifd-qpl", ["multifd"], **streams, multifd_compression="qpl"),
    ]
    for ending in _ENCRYPTED:
        every += [
            qemu("qemu-multifd" + ending, ["multifd"], **streams),
            qemu(QEMU_COMPRESSED + ending, ["multifd"], **streams, multifd_compression="zstd"),
            own(OURS + ending),
            own(OURS_RAW + ending, "--codec", "raw"),
        ]
    by_name = {each.name: each for each in every if each.name != OTHER or other_godwit}
    unknown = [name for name in names if name not in by_name]
    if unknown:
        raise ValueError(f"no such contender: {', '.join(unknown)}; there are {', '.join(by_name)}, and "
                         f"{TLS_BESIDE_PLAIN} alone")
    asked_for = [name for name in by_name if name in (STREAM, OTHER, *_BY_DEVICE) or is_encrypted(name)]
    return [by_name[name] for name in names or by_name if names or name not in asked_for]
