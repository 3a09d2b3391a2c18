//! Wirings: which neuron is connected to which, and with what sign.
