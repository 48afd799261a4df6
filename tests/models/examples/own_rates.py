from models.own_rates import OwnRates


def example(world, seed):
    return OwnRates()
