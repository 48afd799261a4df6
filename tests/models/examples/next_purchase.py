from models.basket import Basket, Baskets
from models.next_purchase import Moment, NextPurchase, NextPurchaseConfig, RankingData


def example(world, seed):
    """Whoever bought an item buys its successor on the circle next."""
    items = world.items
    shoppers = [world.shopper([items[i], items[i - 1]], contact_id=f"c{i}") for i in range(12)] * 3
    following = [[items[(i + 1) % 12]] for i in range(12)] * 3
    moment = Moment(world.catalogue, shoppers, following, following, passed=True)
    basket = Basket.learn(Baskets.of(world.baskets["order_id"], world.baskets["item_id"]))
    data = RankingData([moment], moment, None, basket, None, basket)
    return NextPurchase.learn(data, NextPurchaseConfig(rounds=20, chance_rounds=20, leaves=4), seed)
