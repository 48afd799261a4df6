from models.basket import Basket, Baskets


def example(world, seed):
    return Basket.learn(Baskets.of(world.baskets["order_id"], world.baskets["item_id"]), seed=seed)
