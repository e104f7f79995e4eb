"""Two hosts, a switch and real guests on one machine, for the demo and for benchmarks.

    from testbed import network, machine, guest, client, migrations

                       +---------------- switch ----------------+
                       |  bridge, and the client that talks     |
                       +--- trunk ---------------- trunk -------+
                             |                        |
    +---------- host a ------+---+        +-----------+---- host b ----------+
    |  QEMU -- tap -- bridge     |        |     bridge -- tap -- QEMU        |
    |        migration address --+--------+-- migration address              |
    +----------------------------+  link  +----------------------------------+
                              (shaped, counted)

Each box is a network namespace. Guest traffic goes by the switch, the migration by a link of its own, whose rate is set
and whose bytes are counted. Everything is removed at the end, also after a failure or Ctrl-C.
"""
