from models.popularity import Popularity, PopularityConfig


def example(world, seed):
    return Popularity(PopularityConfig(variant="category"))
