"""Child processes that cannot outlive us, and what they cost."""

import os
import subprocess
import time

# A child that has not ended this long after SIGTERM gets SIGKILL.
PATIENCE_SECONDS = 5


def start(arguments, namespace=None, **popen):
    """Starts a process in a network namespace; it gets SIGKILL if this process dies. Call from the main thread.

    Each link of the chain execs the next one, so the child's pid is the program's own.
    """
    chain = ["setpriv", "--pdeathsig", "KILL"]
    if namespace:
        chain += ["ip", "netns", "exec", namespace]
    # A session of its own: Ctrl-C reaches only us, and we end the children in order.
    return subprocess.Popen(chain + [str(a) for a in arguments], start_new_session=True, **popen)


def end(process):
    """Ends a process that start() gave, by its pid; safe to call twice."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe:
            try:
                pipe.close()
            except OSError:
                pass


def reap(process):
    """The CPU seconds of a process that start() gave, if it has ended; else None. Does not wait."""
    if process.returncode is not None:
        return 0.0
    pid, status, usage = os.wait4(process.pid, os.WNOHANG)
    if pid == 0:
        return None
    process.returncode = os.waitstatus_to_exitcode(status)
    return usage.ru_utime + usage.ru_stime


def run(*arguments, **options):
    """Runs a short command to its end; an error carries its output."""
    done = subprocess.run([str(a) for a in arguments], capture_output=True, text=True, timeout=60, **options)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, arguments))}: {(done.stderr or done.stdout).strip()}")
    return done.stdout


def cpu_seconds(pid):
    """CPU time of all threads of a process, living and ended ones."""
    return time.clock_gettime((~pid << 3) | 2)  # the clock id of a process, see clock_getcpuclockid(3)


def thread_cpu_seconds(pid, wanted):
    """CPU time of the living threads whose name satisfies `wanted`."""
    total = 0
    for thread in os.listdir(f"/proc/{pid}/task"):
        try:
            with open(f"/proc/{pid}/task/{thread}/comm") as name, \
                 open(f"/proc/{pid}/task/{thread}/schedstat") as times:
                if wanted(name.read().strip()):
                    total += int(times.read().split()[0])
        except OSError:
            pass  # it ended meanwhile
    return total / 1e9


def anonymous_bytes(pid):
    """Resident anonymous memory; guest RAM in shared mappings is not in it."""
    try:
        with open(f"/proc/{pid}/status") as status:
            for line in status:
                if line.startswith("RssAnon:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0
