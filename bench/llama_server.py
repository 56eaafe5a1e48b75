"""llama.cpp's server, out of the Python package xllamacpp: `llama_server.py MODEL PORT THREADS STREAMS`, until standard input closes."""
import sys

import xllamacpp

model, port, threads, streams = sys.argv[1], *map(int, sys.argv[2:])
params = xllamacpp.CommonParams()
params.model.path = model
params.port = port
# As `casemate serve`: so much room for all streams together, shared.
params.n_ctx = 16384
params.n_parallel = streams
params.kv_unified = True
params.cpuparams.n_threads = threads
params.cpuparams_batch.n_threads = threads
server = xllamacpp.Server(params)
sys.stdin.read()
