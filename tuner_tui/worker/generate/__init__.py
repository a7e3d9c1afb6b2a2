"""The generation worker: one base with any number of adapters, answering typed requests over a socket."""
