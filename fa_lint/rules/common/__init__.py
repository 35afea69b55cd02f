"""What rules of several pitfalls share: products, cosines, words for measurements, callers elsewhere."""
