"""Ed25519 verification by the rule of ZIP-215, from the mathematics of RFC 8032. Slow, and plain.

FORMAT.md, "Signatures", states the rule. Python's standard library has no Ed25519, so here it is in
affine coordinates' extended form, with nothing optimised.
"""

import hashlib

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
SQRT_M1 = pow(2, (P - 1) // 4, P)

IDENTITY = (0, 1, 1, 0)


def add(p, q):
    """The sum of two points in extended coordinates (X, Y, Z, T); complete, so it also doubles."""
    a = (p[1] - p[0]) * (q[1] - q[0]) % P
    b = (p[1] + p[0]) * (q[1] + q[0]) % P
    c = 2 * p[3] * q[3] * D % P
    d = 2 * p[2] * q[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return (e * f % P, g * h % P, f * g % P, e * h % P)


def multiply(scalar, point):
    result = IDENTITY
    while scalar:
        if scalar & 1:
            result = add(result, point)
        point = add(point, point)
        scalar >>= 1
    return result


def negate(point):
    return (-point[0] % P, point[1], point[2], -point[3] % P)


def is_identity(point):
    return point[0] % P == 0 and (point[1] - point[2]) % P == 0


def decompress(encoded):
    """The point that 32 bytes encode, or None. ZIP-215: y is taken modulo p, and x = 0 may carry
    the sign bit."""
    number = int.from_bytes(encoded, "little")
    sign, y = number >> 255, (number & (2**255 - 1)) % P
    x2 = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(x2, (P + 3) // 8, P)
    if (x * x - x2) % P:
        x = x * SQRT_M1 % P
    if (x * x - x2) % P:
        return None
    if x & 1 != sign:
        x = -x % P
    return (x, y, 1, x * y % P)


def compress(point):
    inverse = pow(point[2], -1, P)
    x, y = point[0] * inverse % P, point[1] * inverse % P
    return (y | (x & 1) << 255).to_bytes(32, "little")


BASE = decompress((4 * pow(5, -1, P) % P).to_bytes(32, "little"))


def verify(public_key, message, signature):
    """Whether `signature` is valid by ZIP-215."""
    if len(public_key) != 32 or len(signature) != 64:
        return False
    a, r = decompress(public_key), decompress(signature[:32])
    s = int.from_bytes(signature[32:], "little")
    if a is None or r is None or s >= L:
        return False
    # The bytes as they came, not the canonical encodings of the points.
    k = int.from_bytes(hashlib.sha512(signature[:32] + public_key + message).digest(), "little") % L
    rest = add(multiply(s, BASE), negate(add(r, multiply(k, a))))
    return is_identity(multiply(8, rest))


def check_key(public_key):
    """Why a key may not be registered, or None: FORMAT.md, "Keys that may be registered"."""
    point = decompress(public_key)
    if point is None:
        return "not a point"
    if compress(point) != public_key:
        return "not canonical"
    if is_identity(multiply(8, point)):
        return "small order"
    if not is_identity(multiply(L, point)):
        return "torsion"
    return None
