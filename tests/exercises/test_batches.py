from graded import Graded

from medusa_lib.exercises.batches import check_largest_gain, check_users_that_fit


class TestUsersThatFit(Graded):
    check = staticmethod(check_users_that_fit)
    solution = staticmethod(lambda m, w, each, tokens: (m - w) // (each * tokens))
    wrong = {
        "the weights take memory too": lambda m, w, each, tokens: m // (each * tokens),
        "one more than fits: round down": lambda m, w, each, tokens: -((w - m) // (each * tokens)),
        "half a user is no user": lambda m, w, each, tokens: (m - w) / (each * tokens),
        "that is how many tokens fit": lambda m, w, each, tokens: (m - w) // each,
        "divide it among the users": lambda m, w, each, tokens: m - w,
    }


def place(tau, plain, verify, least=1.0):
    gains = [tau * one / wide for one, wide in zip(plain, verify, strict=True)]
    return next((i for i, gain in enumerate(gains) if gain <= least), len(gains)) - 1


class TestLargestGain(Graded):
    check = staticmethod(check_largest_gain)
    solution = staticmethod(place)
    wrong = {
        "places are counted from 0": lambda *given: place(*given) + 1,
        "that is where the gain is largest": lambda tau, plain, verify: max(
            range(len(plain)), key=lambda i: plain[i] / verify[i]
        ),
        "multiply by it": lambda tau, plain, verify: place(1.0, plain, verify),
        "it is 2, yours was 7": lambda *_: 7,
    }
