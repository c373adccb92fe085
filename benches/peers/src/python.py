# Numbers through a multiprocessing.Queue, from one process to another; prints how many a second.
# Arguments: capacity, items, the CPU of each side, and after how many seconds to give up.
import multiprocessing, os, signal, sys, time

capacity, items, put_on, get_on, limit = map(int, sys.argv[1:])
context = multiprocessing.get_context("fork")
queue = context.Queue(capacity)
start = context.Barrier(2)


def begin(cpu):
    signal.alarm(limit)
    os.sched_setaffinity(0, {cpu})
    start.wait()


def put():
    begin(put_on)
    for item in range(items):
        queue.put(item)


producer = context.Process(target=put, daemon=True)
producer.start()
begin(get_on)
began = time.perf_counter()
for item in range(items):
    if queue.get() != item:
        sys.exit(f"out of order at {item}")
took = time.perf_counter() - began
producer.join()
if producer.exitcode != 0:
    sys.exit(f"the producer ended with {producer.exitcode}")
print(items / took)
