from stages.report.coverage import draw_coverage


def point(coverage, accuracy):
    return {"coverage": coverage, "accuracy": accuracy, "threshold": 0.5}


def test_a_few_texts_that_the_model_is_surest_of_do_not_set_the_scale():
    points = [point(0.1, 0.97), point(1, 0.9)]
    assert draw_coverage([point(0.001, 0), *points]) == draw_coverage(points)
    assert draw_coverage([point(0.06, 0), *points]) != draw_coverage(points)


def test_a_threshold_that_answers_few_texts_is_within_the_picture():
    points = [point(0.1, 0.97), point(1, 0.9)]
    assert draw_coverage(points, point(0.01, 0.3)) != draw_coverage(points, point(0.01, 0.2)) != draw_coverage(points)
