"""Pages that need no other file: images and styles are inside.

similar_page      the query and its matches                     `visrec similar --html`
duplicates_page   groups of duplicates, and placeholders        `visrec duplicates --html`
evaluation_page   measures, plots and the worst queries         `visrec evaluate --html`
outcomes_page     what each arm brought                         `visrec outcomes --html`
replay_page       what another order would have brought         `visrec replay --html`
charts            the plots of the pages, as numbers that their templates draw
page              what the pages share: templates, cards, images as data URLs
"""
