"""How an image comes about: magnetic resonance signal and k-space, CT attenuation, projection and dose."""
