from models.rules import Rules


def example(world, seed):
    return Rules({"engaged": 10.0, "sales_ready": 30.0})
