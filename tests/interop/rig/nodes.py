"""Machines: network namespaces, and guest kernels (user-mode Linux). Both run commands; neither outlives the suite."""
import json
import os
import platform
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from . import Failure

HERE = Path(__file__).resolve().parent.parent
PYTHON = [sys.executable, "-I", "-S", "-B"]
UNPACKED = Path("/var/cache/ipsec-interop")    # where `setup` unpacks packages that cannot be installed beside strongSwan's
MTU = 1700    # of a guest at the end of a cable: room for any overhead around 1400 octets


class Node:
    """A machine named `name`; its files are kept in the host's folder `folder`, which it sees as `path(...)`."""

    def __init__(self, name, folder):
        self.name = name
        self.folder = folder / name
        self.folder.mkdir(parents=True)

    def ip(self, *lines):
        """Runs `ip` with each of these command lines."""
        self.run(["sh", "-ec", "".join(f"ip {line}\n" for line in lines)])


class Netns(Node):
    """A network namespace, held by a sleeping process."""

    def __init__(self, name, folder):
        super().__init__(name, folder)
        self.holder = subprocess.Popen(["unshare", "--net", "sh", "-c", "echo; exec sleep infinity"],
                                       stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, start_new_session=True)
        self.holder.stdout.readline()
        self.pid = self.holder.pid
        self.tasks = []
        self.ip("link set lo up")

    def path(self, name):
        return str(self.folder / name)

    def command(self, argv):
        return ["nsenter", f"--net=/proc/{self.pid}/ns/net", "--", *argv]

    def run(self, argv, timeout=20, check=True, env=None):
        """Runs a command to its end and returns its output, standard error included."""
        try:
            done = subprocess.run(self.command(argv), env={**os.environ, **(env or {})}, timeout=timeout, text=True,
                                  stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        except subprocess.TimeoutExpired:
            raise Failure(f"{self.name}: `{' '.join(argv)}` did not end within {timeout} s") from None
        return result(self, argv, done.returncode, done.stdout, check)

    def start(self, argv, log=None, env=None):
        """Starts a command; its output goes to the file `log` of the node's folder, or is kept for `Task.wait`."""
        output = open(self.folder / log, "ab") if log else subprocess.PIPE
        process = subprocess.Popen(self.command(argv), env={**os.environ, **(env or {})}, start_new_session=True,
                                   stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
        if log:
            output.close()
        task = NetnsTask(process)
        self.tasks.append(task)
        return task

    def set(self, sysctl, value):
        self.run(["sh", "-c", f"echo {value} > /proc/sys/{sysctl.replace('.', '/')}"])

    def stop(self):
        for task in self.tasks:
            task.kill()
        self.holder.kill()
        self.holder.wait()
        self.holder.stdout.close()


class NetnsTask:
    def __init__(self, process):
        self.process = process
        self.pid = process.pid

    def alive(self):
        return self.process.poll() is None

    def signal(self, number):
        self.process.send_signal(number)

    def wait(self, timeout):
        """The exit status (None if it still runs) and the output kept."""
        try:
            out, _ = self.process.communicate(timeout=timeout)
            return self.process.returncode, (out or b"").decode(errors="replace")
        except subprocess.TimeoutExpired:
            return None, ""

    def kill(self):
        if self.alive():
            self.process.kill()
        self.process.communicate()


class Guest(Node):
    """A machine with a Linux kernel of its own, whose only link `wan` is a TAP device of the namespace `host`, or the
    socket `line`, over which Ethernet frames go.

    It sees the host's file system read-only, and its own folder, writable, at /run/shared.
    """

    SHARED = "/run/shared"

    def __init__(self, name, folder, work, host=None, tap=None, line=None):
        super().__init__(name, folder)
        commands, self.requests = os.pipe()
        replies, answers = os.pipe()
        self.mac = "02:00:00:00:00:%02x" % (sum((tap or name).encode()) % 255 + 1)
        link = f"fd,fd={line.fileno()},mtu={MTU}" if line else f"tap,ifname={tap}"
        argv = [
            "linux.uml", "mem=192M", "root=/dev/root", "rootfstype=hostfs", "rootflags=/", "ro", "quiet",
            f"uml_dir={work}", f"umid={name}-{os.urandom(4).hex()}", f"init={HERE}/uml/init",
            f"vec0:transport={link},depth=128,gro=0,mac={self.mac}",
            "con=null", "con0=null,fd:1", f"ssl0=fd:{commands},fd:{answers}",
            f"python={sys.executable}", f"agent={HERE}/uml/agent.py", f"shared={self.folder}",
            f"modules={modules()}",
        ]
        with open(self.folder / "console.log", "wb") as console:
            self.process = subprocess.Popen(
                host.command(argv) if host else argv,
                env={**os.environ, "LD_PRELOAD": shim(work), "TMPDIR": str(work)},
                pass_fds=(commands, answers, *([line.fileno()] if line else ())), start_new_session=True,
                stdin=subprocess.DEVNULL, stdout=console, stderr=subprocess.STDOUT)
        os.close(commands)
        os.close(answers)
        self.waiting = {0: queue.Queue()}
        self.last_id = 0
        self.lock = threading.Lock()
        threading.Thread(target=self.read_replies, args=(replies,), daemon=True).start()
        self.booted = False

    def boot(self, timeout=40):
        """Waits until the guest runs commands."""
        if not self.booted:
            self.reply(0, timeout)
            self.booted = True
            self.ip("link set lo up", "link set vec0 name wan")

    def path(self, name):
        return f"{self.SHARED}/{name}"

    def run(self, argv, timeout=30, check=True, env=None):
        answer = self.ask(op="run", argv=argv, env=env or {}, timeout=timeout)
        if answer["rc"] is None:
            raise Failure(f"{self.name}: `{' '.join(argv)}` did not end within {timeout} s")
        return result(self, argv, answer["rc"], answer["out"], check)

    def start(self, argv, log=None, env=None):
        answer = self.ask(op="start", argv=argv, env=env or {}, log=log and self.path(log))
        return GuestTask(self, answer["pid"])

    def ask(self, **request):
        with self.lock:
            self.last_id += 1
            number = self.last_id
            self.waiting[number] = queue.Queue()
            line = json.dumps({"id": number, **request}).encode() + b"\n"
            while line:
                line = line[os.write(self.requests, line):]
        return self.reply(number, request.get("timeout", 0) + 15)

    def reply(self, number, timeout):
        try:
            answer = self.waiting[number].get(timeout=timeout)
        except queue.Empty:
            raise Failure(f"{self.name}: the guest kernel does not answer; see {self.name}/console.log") from None
        finally:
            self.waiting.pop(number, None)
        if "error" in answer:
            raise Failure(f"{self.name}: {answer['error']}")
        return answer

    def read_replies(self, source):
        with open(source, "rb") as lines:
            for line in lines:
                answer = json.loads(line)
                waiting = self.waiting.get(answer.pop("id"))
                if waiting:
                    waiting.put(answer)

    def stop(self):
        """Ends the guest at once: all it has to keep is in its folder."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        os.close(self.requests)


class GuestTask:
    def __init__(self, guest, pid):
        self.guest = guest
        self.pid = pid
        self.asked = 0

    def alive(self):
        """As of at most half a second ago: the guest has better things to do than to answer."""
        now = time.monotonic()
        if now > self.asked + 0.5:
            self.asked, self.running = now, self.wait(0)[0] is None
        return self.running

    def signal(self, number):
        self.guest.ask(op="signal", pid=self.pid, signal=int(number))

    def wait(self, timeout):
        answer = self.guest.ask(op="wait", pid=self.pid, timeout=timeout)
        return answer["rc"], answer["out"]

    def kill(self):
        self.signal(signal.SIGKILL)


def result(node, argv, status, output, check):
    if check and status != 0:
        raise Failure(f"{node.name}: `{' '.join(argv)}` ended with status {status}: {output.strip()[-300:]}")
    return output


def modules():
    """The folder of the guest kernel's modules."""
    found = sorted(Path("/usr/lib/uml/modules").glob("*"))
    if not found:
        raise Failure("user-mode-linux has no modules in /usr/lib/uml/modules")
    return found[-1]


def shim(work):
    """A library that lets user-mode Linux run on CPUs with a large XSAVE area, compiled on first use."""
    library = work / "xstate_shim.so"
    if platform.machine() == "x86_64" and not library.exists():
        subprocess.run(["gcc", "-O2", "-shared", "-fPIC", "-o", library, HERE / "uml/xstate_shim.c"], check=True)
    return str(library)


def wait_until(true, timeout, what):
    """Polls `true` until it returns something true, and returns it."""
    end = time.monotonic() + timeout
    while True:
        value = true()
        if value:
            return value
        if time.monotonic() > end:
            raise Failure(f"{what} within {timeout} s")
        time.sleep(0.02)


def missing(programs):
    return [program for program in programs if shutil.which(program) is None]
