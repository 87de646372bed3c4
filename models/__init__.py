"""Training: pairs of networks G: Z -> X and E: X -> Z.

Shapes are written in brackets with fixed letters: B batch, N items, C H W an image's channels,
height and width, Z latent, D features of a vector.  Images are float32 [B, C, H, W] in [-1, 1]
inside this package and uint8 [N, H, W, C] on disk and in `datasets`.  x is a real image and z a
draw from the prior; G(z) is a sample, E(x) a code, G(E(x)) a reconstruction.
"""
