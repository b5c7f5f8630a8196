import time

block = bytearray(600_000_000)
block[::4096] = b"1" * len(block[::4096])
time.sleep(60)
