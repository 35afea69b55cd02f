"""One file a check, one pure function each: plain tensors in, a :class:`Measurement` or None out.

With ``now`` false nothing may wait for the device: a measurement is always returned, of 0-dim tensors.
"""
