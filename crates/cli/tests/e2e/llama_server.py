"""The server of llama.cpp, out of the Python package xllamacpp: two arguments, the model and a port or the path of a socket."""
import signal
import sys

import xllamacpp

model, address = sys.argv[1:]
params = xllamacpp.CommonParams()
params.model.path = model
if address.isdigit():
    params.hostnames = ["127.0.0.1"]
    params.port = int(address)
else:
    params.hostnames = [address]
params.n_ctx = 4096
params.n_parallel = 2
params.cpuparams.n_threads = 1
params.cpuparams_batch.n_threads = 1
server = xllamacpp.Server(params)
signal.pause()
