"""Runs commands inside the guest for the suite: one JSON request a line on the serial line, one JSON answer a line.

Requests carry an "id", which the answer repeats, and an "op":
  run     argv, env, timeout      answers rc, out (standard output and error)
  start   argv, env, log          answers pid; output goes to the file `log`, or is kept for `wait`
  signal  pid, signal             answers nothing more
  wait    pid, timeout            answers rc (null: still running), out
"""
import json
import os
import subprocess
import sys
import threading
import tty

started = {}
writing = threading.Lock()


def run(request):
    try:
        done = subprocess.run(request["argv"], env=environment(request), timeout=request["timeout"],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        return {"rc": done.returncode, "out": done.stdout}
    except subprocess.TimeoutExpired as late:
        return {"rc": None, "out": (late.stdout or b"").decode(errors="replace")}


def start(request):
    output = open(request["log"], "ab", buffering=0) if request["log"] else subprocess.PIPE
    process = subprocess.Popen(request["argv"], env=environment(request),
                               stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
    started[process.pid] = process
    return {"pid": process.pid}


def signal(request):
    started[request["pid"]].send_signal(request["signal"])
    return {}


def wait(request):
    process = started[request["pid"]]
    try:
        out, _ = process.communicate(timeout=request["timeout"])
        return {"rc": process.returncode, "out": (out or b"").decode(errors="replace")}
    except subprocess.TimeoutExpired:
        return {"rc": None, "out": ""}


def environment(request):
    return {**os.environ, **request["env"]}


def answer(line, request):
    try:
        reply = {"run": run, "start": start, "signal": signal, "wait": wait}[request["op"]](request)
    except Exception as error:    # whatever went wrong is the suite's to report
        reply = {"error": repr(error)}
    send(line, {"id": request["id"], **reply})


def send(line, message):
    text = json.dumps(message).encode() + b"\n"
    with writing:
        while text:
            text = text[os.write(line, text):]


def main():
    line = os.open(sys.argv[1], os.O_RDWR)
    tty.setraw(line)
    send(line, {"id": 0})
    pending = b""
    while True:
        piece = os.read(line, 65536)
        if not piece:
            return
        *whole, pending = (pending + piece).split(b"\n")
        for text in whole:
            request = json.loads(text)
            if request["op"] == "poweroff":
                return
            threading.Thread(target=answer, args=(line, request), daemon=True).start()


main()
