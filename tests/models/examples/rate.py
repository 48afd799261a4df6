from models.rate import Rate


def example(world, seed):
    return Rate(30.0)
